//! Requirements of the sensors: tracefs, tracepoints, cgroups, files of other processes; whether
//! probes are harmless; and whether the sensors start.

use super::{
    facts::{Facts, TracepointFact},
    item::Item,
};
use crate::{
    bpf::canary::{effect::Effect, kind::ProbeKind},
    host::{cgroup::Cgroup, lockdown::Lockdown, tracefs_mount},
    status::{PathSource, Sensor},
};

const REMEDY_TRACEPOINT: &str = "use a kernel that has this tracepoint with these fields";

const NOT_TRIED: &str = "not tried: this process may not observe";

pub(super) fn items(facts: &Facts) -> Vec<Item> {
    let mut items = vec![trace_files(facts)];
    items.extend(tracepoints(facts));
    items.push(cgroup(&facts.cgroup));
    items.push(owners(facts));
    items.push(match &facts.map_files {
        Ok(()) => Item::ok("map_files", "mapped files can be opened by their mapping"),
        Err(reason) => Item::degraded(
            "map_files",
            format!(
                "{reason}: libraries that were deleted or replaced while in use are not observed"
            ),
            "grant CAP_SYS_ADMIN, and use a kernel with CONFIG_PROC_FS",
        ),
    });
    let trial = facts.trial.as_ref();
    for (at, kind) in ProbeKind::ALL.into_iter().enumerate() {
        let name = format!("canary:{}", kind.name());
        let effect = trial.and_then(|trial| trial.canary.get(at));
        items.push(match effect {
            Some((_, effect)) => canary(name, kind, effect),
            None => Item::not_applicable(name, NOT_TRIED),
        });
    }
    for (at, sensor) in Sensor::ALL.into_iter().enumerate() {
        let name = format!("sensor:{}", sensor.label());
        let started = trial.and_then(|trial| trial.sensors.get(at));
        items.push(match started {
            Some((_, started)) => start_result(name, sensor, started),
            None => Item::not_applicable(name, NOT_TRIED),
        });
    }
    items
}

fn trace_files(facts: &Facts) -> Item {
    match &facts.tracefs {
        Ok(path) => Item::ok("tracefs", path.display().to_string()),
        // Lockdown closes its files even if it is mounted.
        Err(_) if facts.lockdown == Lockdown::Confidentiality => {
            Item::not_applicable("tracefs", "closed by lockdown")
        }
        Err(reason) => Item::missing("tracefs", reason, tracefs_mount::REMEDY),
    }
}

fn tracepoints(facts: &Facts) -> impl Iterator<Item = Item> {
    let readable = facts.tracefs.is_ok();
    facts.tracepoints.iter().map(move |tracepoint| {
        let TracepointFact {
            sensor,
            event,
            vital,
            usable,
        } = tracepoint;
        let name = format!("tracepoint:{event}");
        match usable {
            Ok(()) => Item::ok(name, "available, with all required fields"),
            Err(_) if !readable => Item::not_applicable(name, "not known without tracefs"),
            Err(reason) if *vital => Item::missing(name, reason, REMEDY_TRACEPOINT),
            Err(reason) => {
                let found = format!("{reason}: the {} sensor works without it", sensor.label());
                Item::degraded(name, found, REMEDY_TRACEPOINT)
            }
        }
    })
}

fn cgroup(cgroup: &Cgroup) -> Item {
    let name = "cgroup_v2";
    match cgroup {
        Cgroup::Mounted(path) => Item::ok(name, format!("root at {}", path.display())),
        Cgroup::Mountable => Item::ok(name, "not mounted, but can be mounted"),
        Cgroup::Missing => Item::degraded(
            name,
            "not available: offers of clients remain unknown",
            "use a kernel with CONFIG_CGROUPS",
        ),
    }
}

fn owners(facts: &Facts) -> Item {
    let name = "owner_lookup";
    let Some(trial) = &facts.trial else {
        return Item::not_applicable(name, NOT_TRIED);
    };
    let lookup = trial.owner_lookup;
    let found = lookup.describe();
    match lookup.paths {
        Some(PathSource::Reports) if facts.mode.owners.socket_cgroup != 0 => Item::ok(name, found),
        Some(PathSource::Reports) => Item::degraded(
            name,
            format!("{found}: clients without an observed library have no owner"),
            "use kernel 5.8 or later with CONFIG_SOCK_CGROUP_DATA, and ring buffers",
        ),
        Some(PathSource::Directories) => Item::degraded(
            name,
            format!("{found}: a container that lives for less than a second can have no owner"),
            "use a kernel with CONFIG_DEBUG_INFO_BTF",
        ),
        None => Item::degraded(
            name,
            format!("{found}: a process that ends at once is counted under its name"),
            "use cgroup v2 (systemd.unified_cgroup_hierarchy=1 on the kernel's command line)",
        ),
    }
}

/// Return probes are tested but never used, so their effect is not a requirement.
fn canary(name: String, kind: ProbeKind, effect: &Effect) -> Item {
    if kind == ProbeKind::Return {
        return Item::not_applicable(name, format!("return probes: {effect}; not used"));
    }
    let found = format!("probes {}: {effect}", kind.describe());
    match effect {
        Effect::Harmless => Item::ok(name, found),
        Effect::Harmful(_) => Item::missing(
            name,
            format!("{found}; no probe is attached to any process"),
            "use another kernel, and please report this one",
        ),
        Effect::Inconclusive(_) => Item::degraded(
            name,
            found,
            "resolve what the message names, then check again",
        ),
    }
}

fn start_result(name: String, sensor: Sensor, started: &Result<(), String>) -> Item {
    let remedy = "follow the remedies above; if there are none, report this line";
    match (started, sensor) {
        (Ok(()), _) => Item::ok(name, "loads and attaches"),
        (Err(reason), Sensor::Handshake) => Item::missing(name, reason, remedy),
        (Err(reason), _) => Item::degraded(name, reason, remedy),
    }
}
