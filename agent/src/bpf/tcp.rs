//! The `tcp` sensor: retransmissions and resets of every socket on the host.

use aya::Ebpf;
use zerocopy::IntoBytes as _;

use super::{
    bpf_log::BpfLog,
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
pub(super) const PROBES: [(&str, &str, Tracepoint); 4] = [
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
];

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

    /// The loaded object.
    pub(super) const fn object(&self) -> &Ebpf {
        &self.ebpf
    }
}
