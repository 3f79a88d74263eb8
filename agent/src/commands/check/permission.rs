//! Requirements on this process: capabilities, namespaces, limits, lockdown.

use super::{facts::Facts, item::Item};
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
        needed(facts, Capability::SysPtrace, WITHOUT_PTRACE),
        needed(facts, Capability::DacReadSearch, WITHOUT_DAC),
        net_admin(facts),
        resource(facts),
        included(facts, Capability::Bpf),
        included(facts, Capability::Perfmon),
        memory_lock(facts),
        paranoid(facts),
        lockdown(facts.lockdown),
    ]
}

const WITHOUT_PTRACE: &str = "missing: libraries of other users' processes are not observed";
const WITHOUT_DAC: &str = "missing: files that only other users may read are not observed";
const NO_PROC: &str = "/proc is not readable";

fn has(facts: &Facts, capability: Capability) -> bool {
    facts.rights.is_some_and(|rights| rights.has(capability))
}

fn missing(name: &str, requirement: &MissingRequirement) -> Item {
    Item::missing(name, requirement.to_string(), requirement.remedy())
}

fn user_namespace(membership: NamespaceMembership) -> Item {
    match membership {
        NamespaceMembership::Other => missing("user_namespace", &MissingRequirement::UserNamespace),
        NamespaceMembership::Host | NamespaceMembership::Unknown => {
            Item::ok("user_namespace", membership.to_string())
        }
    }
}

fn pid_namespace(membership: NamespaceMembership) -> Item {
    match membership {
        NamespaceMembership::Other => Item::degraded(
            "pid_namespace",
            "not the host's: processes outside of it are not observed, and a handshake is not \
             counted if its process is killed",
            "run on the host, or with its PID namespace (hostPID: true, --pid=host)",
        ),
        NamespaceMembership::Host | NamespaceMembership::Unknown => {
            Item::ok("pid_namespace", membership.to_string())
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
            "granted: for BPF, uprobes, tracepoints and a private tracefs",
        )
    } else {
        missing(&name, &MissingRequirement::Capability)
    }
}

fn needed(facts: &Facts, capability: Capability, without: &str) -> Item {
    let name = name(capability);
    if has(facts, capability) {
        return Item::ok(name, "granted");
    }
    let user = facts.rights.map_or(0, |rights| rights.uid);
    // Only root may read tracefs.
    if capability == Capability::DacReadSearch && user != 0 {
        return Item::missing(
            name,
            format!("missing: user {user} may not read tracefs"),
            "grant CAP_DAC_READ_SEARCH",
        );
    }
    let remedy = format!("grant {}", capability.name());
    Item::degraded(name, without, &remedy)
}

/// `bpf_prog_attach_check_attach_type` (kernel/bpf/syscall.c) requires this capability; since 6.9
/// (`bpf_token_capable`) CAP_SYS_ADMIN includes it.
fn net_admin(facts: &Facts) -> Item {
    let name = name(Capability::NetAdmin);
    let mut sensors = facts.trial.iter().flat_map(|trial| &trial.sensors);
    let reads_packets = sensors.any(|(sensor, started)| *sensor == Sensor::Wire && started.is_ok());
    if has(facts, Capability::NetAdmin) {
        Item::ok(
            name,
            "granted: for packets before kernel 6.9, dropped after the start",
        )
    } else if reads_packets || facts.trial.is_none() {
        Item::not_applicable(
            name,
            "not granted: only kernels before 6.9 require it, for packets",
        )
    } else {
        let found = "missing: the wire sensor does not start, kernels before 6.9 require it";
        Item::degraded(name, found, "grant CAP_NET_ADMIN on kernels before 6.9")
    }
}

fn resource(facts: &Facts) -> Item {
    let name = name(Capability::SysResource);
    if has(facts, Capability::SysResource) {
        Item::ok(
            name,
            "granted: raises the memory lock limit before kernel 5.11",
        )
    } else {
        Item::not_applicable(
            name,
            "not granted: only required to raise the memory lock limit, see memory_lock",
        )
    }
}

fn included(facts: &Facts, capability: Capability) -> Item {
    let found = match (has(facts, Capability::SysAdmin), has(facts, capability)) {
        (true, _) => "CAP_SYS_ADMIN includes it",
        (false, true) => "granted, but not sufficient: uprobes need CAP_SYS_ADMIN (CVE-2025-38466)",
        (false, false) => "not required with CAP_SYS_ADMIN",
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
            "set ulimit -l unlimited or LimitMEMLOCK=infinity, or grant CAP_SYS_RESOURCE",
        ),
        (Answer::Refused(_), Some(_)) => Item::not_applicable(
            name,
            format!("{shown}; not known whether it applies before bpf works"),
        ),
    }
}

fn paranoid(facts: &Facts) -> Item {
    let name = "perf_event_paranoid";
    match facts.paranoid {
        Some(level) if has(facts, Capability::SysAdmin) => {
            Item::ok(name, format!("{level}; CAP_SYS_ADMIN overrides it"))
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
        Lockdown::Integrity => Item::ok("lockdown", "integrity, which allows observation"),
        Lockdown::Confidentiality => missing("lockdown", &MissingRequirement::Lockdown),
    }
}
