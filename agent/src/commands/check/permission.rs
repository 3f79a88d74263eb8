//! Lines about what this process may do: capabilities, namespaces, limits, lockdown.

use super::{Facts, Item};
use crate::{
    bpf::features::Answer,
    host::{
        MissingRequirement,
        capability::{Capability, NamespaceMembership},
        lockdown::Lockdown,
        memory_lock::MemoryLock,
    },
    status::Sensor,
};

pub(super) fn items(facts: &Facts) -> Vec<Item> {
    vec![
        user_namespace(facts.user_namespace),
        pid_namespace(facts.pid_namespace),
        admin(facts),
        needed(facts, Capability::SysPtrace, PTRACE),
        needed(facts, Capability::DacReadSearch, DAC),
        net_admin(facts),
        resource(facts),
        contained(facts, Capability::Bpf),
        contained(facts, Capability::Perfmon),
        memory_lock(facts),
        paranoid(facts),
        lockdown(facts.lockdown),
    ]
}

const PTRACE: &str = "what other users' processes map is not seen, nor their libraries observed";
const DAC: &str = "files that only other users may read are not opened";
const NO_PROC: &str = "/proc does not say";

fn has(facts: &Facts, capability: Capability) -> bool {
    facts.rights.is_some_and(|rights| rights.has(capability))
}

fn lack(name: &str, lack: &MissingRequirement) -> Item {
    Item::missing(name, lack.to_string(), lack.remedy())
}

fn user_namespace(place: NamespaceMembership) -> Item {
    match place {
        NamespaceMembership::Other => lack("user_namespace", &MissingRequirement::UserNamespace),
        NamespaceMembership::Host | NamespaceMembership::Unknown => {
            Item::ok("user_namespace", place.to_string())
        }
    }
}

fn pid_namespace(place: NamespaceMembership) -> Item {
    match place {
        NamespaceMembership::Other => Item::degraded(
            "pid_namespace",
            "not the host's: processes outside of it are not looked at, and handshakes \
             that take longer than a second are counted as abandoned",
            "run on the host, or with its PID namespace (hostPID: true, --pid=host)",
        ),
        NamespaceMembership::Host | NamespaceMembership::Unknown => {
            Item::ok("pid_namespace", place.to_string())
        }
    }
}

fn name(capability: Capability) -> String {
    capability.name().to_lowercase()
}

fn admin(facts: &Facts) -> Item {
    let name = name(Capability::SysAdmin);
    if facts.rights.is_none() {
        return Item::missing(name, NO_PROC, "mount -t proc proc /proc");
    }
    if has(facts, Capability::SysAdmin) {
        Item::ok(
            name,
            "there: BPF, uprobes, tracepoints, a tracefs of our own",
        )
    } else {
        lack(&name, &MissingRequirement::Capability)
    }
}

fn needed(facts: &Facts, capability: Capability, without: &str) -> Item {
    let name = name(capability);
    if has(facts, capability) {
        return Item::ok(name, "there");
    }
    let user = facts.rights.map_or(0, |rights| rights.uid);
    // tracefs belongs to root and shows nothing to others.
    if capability == Capability::DacReadSearch && user != 0 {
        return Item::missing(
            name,
            format!("user {user} may not read tracefs without it"),
            "grant CAP_DAC_READ_SEARCH",
        );
    }
    let remedy = format!("grant {}", capability.name());
    Item::degraded(name, without, &remedy)
}

/// `bpf_prog_attach_check_attach_type` (kernel/bpf/syscall.c) asks for it alone; since 6.9 (`bpf_token_capable`) CAP_SYS_ADMIN
/// includes it.
fn net_admin(facts: &Facts) -> Item {
    let name = name(Capability::NetAdmin);
    let mut sensors = facts.trial.iter().flat_map(|trial| &trial.sensors);
    let reads_packets = sensors.any(|(sensor, started)| *sensor == Sensor::Wire && started.is_ok());
    if has(facts, Capability::NetAdmin) {
        Item::ok(
            name,
            "there: reads packets before 6.9; given up after the start",
        )
    } else if reads_packets || facts.trial.is_none() {
        Item::not_applicable(
            name,
            "not there: only kernels before 6.9 ask for it, to read packets",
        )
    } else {
        let found = "not there, and the wire sensor does not start: kernels before 6.9 ask for it";
        Item::degraded(name, found, "grant CAP_NET_ADMIN on kernels before 6.9")
    }
}

fn resource(facts: &Facts) -> Item {
    let name = name(Capability::SysResource);
    if has(facts, Capability::SysResource) {
        Item::ok(name, "there: lifts the memory lock limit below 5.11")
    } else {
        Item::not_applicable(
            name,
            "not there: only lifts the memory lock limit, see memory_lock",
        )
    }
}

fn contained(facts: &Facts, capability: Capability) -> Item {
    let found = match (has(facts, Capability::SysAdmin), has(facts, capability)) {
        (true, _) => "CAP_SYS_ADMIN includes it",
        (false, true) => "there, and not enough: uprobes need CAP_SYS_ADMIN (CVE-2025-38466)",
        (false, false) => "not needed where CAP_SYS_ADMIN is there",
    };
    Item::not_applicable(name(capability), found)
}

fn memory_lock(facts: &Facts) -> Item {
    let name = "memory_lock";
    let MemoryLock(limit) = facts.memory_lock;
    let shown = limit.map_or_else(
        || "unlimited".to_owned(),
        |bytes| format!("{} KiB", bytes / 1024),
    );
    match (&facts.features.charged_to_cgroup, limit) {
        (Answer::Yes, _) => Item::ok(
            name,
            format!("{shown}; this kernel charges BPF maps to the memory cgroup instead"),
        ),
        (_, None) => Item::ok(name, shown),
        (Answer::No, Some(_)) => Item::degraded(
            name,
            format!("{shown}, which this kernel charges BPF maps to"),
            "ulimit -l unlimited, LimitMEMLOCK=infinity, or CAP_SYS_RESOURCE",
        ),
        (Answer::Refused(_), Some(_)) => Item::not_applicable(
            name,
            format!("{shown}; no telling whether that matters before bpf works"),
        ),
    }
}

fn paranoid(facts: &Facts) -> Item {
    let name = "perf_event_paranoid";
    match facts.paranoid {
        Some(level) if has(facts, Capability::SysAdmin) => {
            Item::ok(name, format!("{level}; CAP_SYS_ADMIN is above it"))
        }
        Some(level) => {
            Item::not_applicable(name, format!("{level}; no level replaces CAP_SYS_ADMIN"))
        }
        None => Item::not_applicable(name, NO_PROC),
    }
}

fn lockdown(lockdown: Lockdown) -> Item {
    match lockdown {
        Lockdown::None => Item::ok("lockdown", "none"),
        Lockdown::Integrity => Item::ok("lockdown", "integrity, which does not matter"),
        Lockdown::Confidentiality => lack("lockdown", &MissingRequirement::Lockdown),
    }
}
