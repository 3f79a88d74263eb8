//! The `tcp` sensor: retransmissions and resets of every socket on the host.

use aya::{Ebpf, maps::Array};
use reprise_core::model::Role;
use reprise_ebpf::{ABSENT, tcp::PORT_WORDS};
use zerocopy::IntoBytes as _;

use super::{
    bpf_log::BpfLog,
    btf::{Offsets, field},
    error::SensorError,
    object::{Object, loader, object, set_namespaces},
    program::attach_tracepoint,
    sensor_events::{Maps, SensorEvents},
    socket_scope,
    tracepoint::Tracepoint,
};
use crate::{
    errors::chain,
    host::ObservedCgroup,
    status::{BpfMode, Status, Verdict},
};

static OBJECT: Object = object!("tcp");
const MAPS: Maps = Maps {
    events: "TCP_EVENTS",
    lost: "TCP_LOST",
    budget: 1 << 20,
};

/// Program, global of its record layout, and tracepoint; each works without the others.
pub(super) const PROBES: [(&str, &str, Tracepoint); 5] = [
    (
        "tcp_retransmit",
        "RETRANSMIT",
        Tracepoint {
            event: "tcp/tcp_retransmit_skb",
            fields: &["state", "sport", "dport", "saddr_v6"],
            vital: false,
        },
    ),
    (
        "tcp_synack",
        "SYNACK",
        Tracepoint {
            event: "tcp/tcp_retransmit_synack",
            fields: &["sport", "dport", "saddr_v6"],
            vital: false,
        },
    ),
    (
        "tcp_reset_rx",
        "RESET_RX",
        Tracepoint {
            event: "tcp/tcp_receive_reset",
            fields: &["sport", "dport", "saddr_v6"],
            vital: false,
        },
    ),
    (
        "tcp_reset_tx",
        "RESET_TX",
        Tracepoint {
            event: "tcp/tcp_send_reset",
            fields: &["saddr"],
            vital: false,
        },
    ),
    (
        CLOSE,
        "CLOSE",
        Tracepoint {
            event: "sock/inet_sock_set_state",
            fields: &[
                "skaddr", "newstate", "oldstate", "sport", "dport", "saddr_v6", "daddr_v6",
            ],
            vital: false,
        },
    ),
];

/// Program that reports the ends of connections.
const CLOSE: &str = "tcp_close";
const PORTS: &str = "TCP_PORTS";

/// The attached `tcp` sensor.
pub(crate) struct TcpSensor {
    /// Events and lost-event counters.
    pub(crate) events: SensorEvents,
    /// Owns programs and links; dropping it detaches.
    ebpf: Ebpf,
}

impl TcpSensor {
    pub(super) fn start(
        mode: BpfMode,
        status: &mut Status,
        cgroup: Option<&ObservedCgroup>,
    ) -> Result<Self, SensorError> {
        let scope = socket_scope::find(cgroup).map_err(SensorError::SocketScope)?;
        let mut usable = Vec::new();
        for (probe, global, tracepoint) in PROBES {
            match tracepoint.layout() {
                Ok(layout) => usable.push((probe, global, tracepoint.event, layout)),
                Err(error) => {
                    tracing::warn!(probe, reason = chain(&error), "tracepoint not usable");
                    status.probe(probe, Verdict::Unsupported);
                }
            }
        }
        let mut loader = loader();
        BpfLog::configure(&mut loader, mode);
        set_namespaces(&mut loader, &mode);
        loader.override_global("SOCKET_SCOPE", scope.as_bytes(), true);
        let error = Offsets::find(|offsets| offsets.at(field::SOCKET_ERROR)).unwrap_or(ABSENT);
        loader.override_global("SOCKET_ERROR", &error, true);
        for (_, global, _, layout) in &usable {
            loader.override_global(global, layout.as_bytes(), true);
        }
        let mut ebpf = loader
            .load(OBJECT.for_mode(mode))
            .map_err(|source| SensorError::Load(Box::new(source)))?;
        let events = SensorEvents::open(&mut ebpf, mode, &MAPS)?;
        let mut first = None;
        let mut attached = 0;
        for (probe, _, event, _) in &usable {
            match attach_tracepoint(&mut ebpf, probe, event, status) {
                Ok(()) => attached += 1,
                Err(error) => {
                    tracing::warn!(probe, reason = chain(&error), "probe not attached");
                    first.get_or_insert(error);
                }
            }
        }
        if attached == 0 {
            return Err(first.unwrap_or(SensorError::Missing("usable tracepoint")));
        }
        Ok(Self { events, ebpf })
    }

    /// Reports the ends of connections with this port of a server, local for the role of a server.
    pub(crate) fn observe_port(&mut self, role: Role, port: u16) -> Result<(), SensorError> {
        let first = match role {
            Role::Server => 0,
            Role::Client => PORT_WORDS / 2,
        };
        let index = first + u32::from(port) / 64;
        let map = self.ebpf.map_mut(PORTS);
        let map = map.ok_or(SensorError::Missing(PORTS))?;
        let result = Array::<_, u64>::try_from(map).and_then(|mut map| {
            let word = map.get(&index, 0)?;
            map.set(index, word | 1 << (port % 64), 0)
        });
        result.map_err(|source| SensorError::Map {
            map: PORTS,
            source: Box::new(source),
        })
    }

    /// The loaded object.
    pub(super) const fn object(&self) -> &Ebpf {
        &self.ebpf
    }
}
