//! Loads the programs of the sensor and attaches its tracepoints.

use std::os::fd::AsFd as _;

use aya::{Ebpf, maps::CgroupArray};
use reprise_ebpf::{ABSENT, TracepointLayout};
use zerocopy::IntoBytes as _;

use super::open::ExitReports;
use crate::{
    bpf::{
        bpf_log::BpfLog,
        error::SensorError,
        object::{Object, loader, object, set_namespaces, set_process},
        program::{attach_raw_tracepoint, attach_tracepoint},
        sensor_events::Maps,
        tracepoint::Tracepoint,
        uprobes::Uprobes,
    },
    host::ObservedCgroup,
    status::{BpfMode, CookieSource, Status, Verdict},
};

static OBJECT: Object = object!("handshake");
/// The programs that are attached to libraries.
const UPROBES: [&str; 6] = [
    "hs_exit",
    "hs_error",
    "hs_free",
    "hs_rejected",
    "hs_forget",
    "hs_enter",
];
pub(super) const MAPS: Maps = Maps {
    events: "HS_EVENTS",
    lost: "HS_LOST",
    budget: 16 << 20,
};

const RECEIVE: Tracepoint = Tracepoint {
    event: "tcp/tcp_rcv_space_adjust",
    fields: &["skaddr", "sport", "dport", "saddr_v6", "daddr_v6"],
    vital: true,
};
/// Receive and send calls, including those that return no data (6.3). Without them the peer of a
/// handshake that never received anything is unknown.
const CALLS: [(&str, Tracepoint); 2] = [
    (
        "hs_recv_call",
        Tracepoint {
            event: "sock/sock_recv_length",
            fields: &["sk", "ret"],
            vital: false,
        },
    ),
    (
        "hs_send_call",
        Tracepoint {
            event: "sock/sock_send_length",
            fields: &["sk", "ret"],
            vital: false,
        },
    ),
];
const SET_STATE: Tracepoint = Tracepoint {
    event: "sock/inet_sock_set_state",
    fields: &[
        "skaddr", "newstate", "sport", "dport", "saddr_v6", "daddr_v6",
    ],
    vital: true,
};
const EXEC: Tracepoint = Tracepoint {
    event: "sched/sched_process_exec",
    fields: &["pid"],
    vital: true,
};
const EXIT: Tracepoint = Tracepoint {
    event: "sched/sched_process_exit",
    fields: &["pid"],
    vital: false,
};
/// Every tracepoint that this sensor can use.
pub(crate) const TRACEPOINTS: [Tracepoint; 6] =
    [RECEIVE, SET_STATE, EXEC, EXIT, CALLS[0].1, CALLS[1].1];

/// The loaded object; nothing is attached yet.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) uprobes: Uprobes,
    /// The kernel has the tracepoints of receive and send calls.
    has_calls: bool,
    /// Reports of ended processes.
    pub(super) exits: ExitReports,
}

/// Loads the object with the layouts of the kernel's tracepoints.
pub(super) fn load(mode: BpfMode) -> Result<Loaded, SensorError> {
    let state = SET_STATE.layout()?;
    let has_calls = CALLS.iter().all(|(_, call)| call.layout().is_ok());
    let receive = match has_calls {
        true => TracepointLayout::EMPTY,
        false => RECEIVE.layout()?,
    };
    EXEC.layout()?;
    let exits = match EXIT.layout() {
        Ok(layout) if mode.ring && layout.group_dead != ABSENT => ExitReports::Processes,
        Ok(_) => ExitReports::FirstThreads,
        Err(_) => ExitReports::None,
    };
    let has_group_dead = u32::from(exits == ExitReports::Processes);
    let has_cookies = u32::from(mode.cookie_source != CookieSource::ProgramCopies);
    let has_scope = u32::from(mode.scoped);
    let mut loader = loader();
    BpfLog::configure(&mut loader, mode);
    set_namespaces(&mut loader, &mode);
    set_process(&mut loader, &mode);
    let mut ebpf = loader
        .override_global("RECEIVE", receive.as_bytes(), true)
        .override_global("SET_STATE", state.as_bytes(), true)
        .override_global("BY_CALLS", &u32::from(has_calls), true)
        .override_global("HAS_COOKIES", &has_cookies, mode.ring)
        .override_global("HAS_GROUP_DEAD", &has_group_dead, mode.ring)
        .override_global("HAS_SCOPE", &has_scope, true)
        .load(OBJECT.for_mode(mode))
        .map_err(|source| SensorError::Load(Box::new(source)))?;
    let uprobes = Uprobes::load(OBJECT.for_mode(mode), mode, &mut ebpf, &UPROBES)?;
    Ok(Loaded {
        ebpf,
        uprobes,
        has_calls,
        exits,
    })
}

/// Sets the cgroup that the programs observe.
pub(super) fn set_scope(ebpf: &mut Ebpf, cgroup: &ObservedCgroup) -> Result<(), SensorError> {
    const MAP: &str = "HS_SCOPE";
    // Not taken out of the object: programs that are loaded later refer to its descriptor.
    let map = ebpf.map_mut(MAP).ok_or(SensorError::Missing(MAP))?;
    let result = CgroupArray::try_from(map).and_then(|mut map| map.set(0, cgroup.as_fd(), 0));
    result.map_err(|source| SensorError::Map {
        map: MAP,
        source: Box::new(source),
    })
}

/// Attaches the tracepoint programs.
pub(super) fn attach_tracepoints(
    loaded: &mut Loaded,
    status: &mut Status,
) -> Result<(), SensorError> {
    let ebpf = &mut loaded.ebpf;
    attach_tracepoint(ebpf, "hs_state", SET_STATE.event, status)?;
    attach_raw_tracepoint(ebpf, "hs_exec", EXEC.event, status)?;
    if loaded.exits != ExitReports::None {
        attach_raw_tracepoint(ebpf, "hs_proc_exit", EXIT.event, status)?;
    } else {
        status.probe("hs_proc_exit", Verdict::Unsupported);
    }
    if loaded.has_calls {
        for (probe, call) in CALLS {
            attach_raw_tracepoint(ebpf, probe, call.event, status)?;
        }
        status.probe("hs_receive", Verdict::NotApplicable);
    } else {
        attach_tracepoint(ebpf, "hs_receive", RECEIVE.event, status)?;
        for (probe, _) in CALLS {
            status.probe(probe, Verdict::Unsupported);
        }
    }
    Ok(())
}
