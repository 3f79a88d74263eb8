//! Lines about what the sensors stand on: tracefs, tracepoints, cgroups, the files of other processes; whether probes are
//! harmless; and, last, whether the sensors start.

use super::{Facts, Item};
use crate::{
    bpf::canary::{effect::Effect, kind::ProbeKind},
    host::{cgroup::Cgroup, lockdown::Lockdown, tracefs},
    status::Sensor,
};

const REMEDY_TRACEPOINT: &str = "a kernel that has this tracepoint with these fields";

const NOT_TRIED: &str = "not tried, since this process may not observe";

pub(super) fn items(facts: &Facts) -> Vec<Item> {
    let mut items = vec![trace_files(facts)];
    items.extend(tracepoints(facts));
    items.push(cgroup(&facts.cgroup));
    items.push(match &facts.map_files {
        Ok(()) => Item::ok("map_files", "mapped files are opened by their mapping"),
        Err(reason) => Item::degraded(
            "map_files",
            format!(
                "{reason}: libraries that were deleted or replaced while in use are not observed"
            ),
            "CAP_SYS_ADMIN, and a kernel with CONFIG_PROC_FS",
        ),
    });
    let trial = facts.trial.as_ref();
    for (at, perch) in ProbeKind::ALL.into_iter().enumerate() {
        let name = format!("canary:{}", perch.name());
        let effect = trial.and_then(|trial| trial.canary.get(at));
        items.push(match effect {
            Some((_, effect)) => canary(name, perch, effect),
            None => Item::not_applicable(name, NOT_TRIED),
        });
    }
    for (at, of) in Sensor::ALL.into_iter().enumerate() {
        let name = format!("sensor:{}", of.label());
        let started = trial.and_then(|trial| trial.sensors.get(at));
        items.push(match started {
            Some((_, started)) => sensor(name, of, started),
            None => Item::not_applicable(name, NOT_TRIED),
        });
    }
    items
}

fn trace_files(facts: &Facts) -> Item {
    match &facts.tracefs {
        Ok(place) => Item::ok("tracefs", place.display().to_string()),
        // Its files cannot be opened then, whatever is mounted.
        Err(_) if facts.lockdown == Lockdown::Confidentiality => {
            Item::not_applicable("tracefs", "closed by the lockdown")
        }
        Err(reason) => Item::missing("tracefs", reason, tracefs::REMEDY),
    }
}

fn tracepoints(facts: &Facts) -> impl Iterator<Item = Item> {
    let readable = facts.tracefs.is_ok();
    facts
        .tracepoints
        .iter()
        .map(move |(sensor, event, vital, found)| {
            let name = format!("tracepoint:{event}");
            match found {
                Ok(()) => Item::ok(name, "there, with all fields that are read"),
                Err(_) if !readable => Item::not_applicable(name, "no telling without tracefs"),
                Err(reason) if *vital => Item::missing(name, reason, REMEDY_TRACEPOINT),
                Err(reason) => {
                    let found = format!("{reason}: the {} sensor does without", sensor.label());
                    Item::degraded(name, found, REMEDY_TRACEPOINT)
                }
            }
        })
}

fn cgroup(cgroup: &Cgroup) -> Item {
    let name = "cgroup_v2";
    match cgroup {
        Cgroup::Mounted(place) => Item::ok(name, format!("root at {}", place.display())),
        Cgroup::Mountable => Item::ok(name, "its root is not mounted, and can be"),
        Cgroup::Missing => Item::degraded(
            name,
            "the kernel has none: what clients offer stays unknown",
            "a kernel with CONFIG_CGROUPS",
        ),
    }
}

/// Return probes are looked at and never used: whatever is found about them stops nothing.
fn canary(name: String, perch: ProbeKind, effect: &Effect) -> Item {
    if perch == ProbeKind::Return {
        return Item::not_applicable(name, format!("return probes: {effect}; not used"));
    }
    let found = format!("probes {}: {effect}", perch.describe());
    match effect {
        Effect::Harmless => Item::ok(name, found),
        Effect::Harmful(_) => Item::missing(
            name,
            format!("{found}; nothing is placed into any process"),
            "another kernel, and please report this one",
        ),
        Effect::Inconclusive(_) => {
            Item::degraded(name, found, "what the message says, then check again")
        }
    }
}

fn sensor(name: String, sensor: Sensor, started: &Result<(), String>) -> Item {
    let remedy = "the remedies above; if there are none, report this line";
    match (started, sensor) {
        (Ok(()), _) => Item::ok(name, "loads and attaches"),
        (Err(reason), Sensor::Handshake) => Item::missing(name, reason, remedy),
        (Err(reason), _) => Item::degraded(name, reason, remedy),
    }
}
