//! Lines about the kernel: which one, and what its BPF can do.

use super::{Facts, Item};
use crate::bpf::{
    features::Answer,
    mode_request::{LibraryData, Transport},
};

const REMEDY_BPF: &str =
    "a kernel with CONFIG_BPF_SYSCALL, CONFIG_BPF_EVENTS and CONFIG_UPROBE_EVENTS";
const REMEDY_CGROUP: &str = "a kernel with CONFIG_CGROUP_BPF";

pub(super) fn items(facts: &Facts) -> Vec<Item> {
    let features = &facts.features;
    let has = "the kernel has it";
    vec![
        machine(facts),
        bpf(&features.bpf),
        feature("bpf_uprobe", &features.uprobe, has, |name| {
            Item::missing(name, "no programs for uprobes", REMEDY_BPF)
        }),
        feature("bpf_tracepoint", &features.tracepoint, has, |name| {
            Item::missing(name, "no programs for tracepoints", REMEDY_BPF)
        }),
        feature("bpf_ring_buffer", &features.ring_buffer, has, |name| {
            Item::ok(name, "no; perf event arrays are used")
        }),
        feature("bpf_attach_cookie", &features.attach_cookie, has, |name| {
            Item::ok(name, "no; each library has copies of the programs")
        }),
        feature("bpf_perf_link", &features.perf_link, has, |name| {
            Item::ok(name, "no; the older way to attach is used")
        }),
        feature(
            "bpf_probe_read_user",
            &features.probe_read_user,
            has,
            |name| Item::ok(name, "no; bpf_probe_read is used"),
        ),
        feature("bpf_cgroup_skb", &features.cgroup_skb, has, |name| {
            let found = "no packets are seen: what clients offer stays unknown";
            Item::degraded(name, found, REMEDY_CGROUP)
        }),
        feature(
            "bpf_socket_storage",
            &features.socket_storage,
            has,
            |name| {
                let found = "no state per socket: what clients offer stays unknown";
                Item::degraded(name, found, "a kernel of 5.2 or later")
            },
        ),
        Item::ok(
            "transport",
            chosen(
                facts.means.transport(),
                facts.wanted.transport != Transport::Auto,
            ),
        ),
        Item::ok(
            "library_data",
            chosen(
                facts.means.library_data(),
                facts.wanted.library_data != LibraryData::Auto,
            ),
        ),
        verified(facts),
        match facts.statistics {
            Some(true) => Item::ok(
                "bpf_statistics",
                "on: run times of the programs are exported",
            ),
            Some(false) => Item::not_applicable(
                "bpf_statistics",
                "off: they cost time; sysctl kernel.bpf_stats_enabled=1 has run times exported",
            ),
            None => Item::not_applicable("bpf_statistics", "the kernel keeps none"),
        },
        match facts.btf {
            true => Item::ok("btf", "there, and not needed"),
            false => Item::not_applicable("btf", "none, and none is needed"),
        },
        match facts.uprobe_pmu {
            true => Item::ok("uprobe_pmu", "uprobes are made without tracefs"),
            false => Item::ok("uprobe_pmu", "none; uprobes are made through tracefs"),
        },
    ]
}

fn chosen(means: &str, by_flag: bool) -> String {
    match by_flag {
        true => format!("{means}, as the flag asks"),
        false => means.to_owned(),
    }
}

/// The verifier gives up at a million (`BPF_COMPLEXITY_LIMIT_INSNS`, include/linux/bpf.h, 5.2).
fn verified(facts: &Facts) -> Item {
    let name = "bpf_verified_instructions";
    match facts
        .trial
        .as_ref()
        .and_then(|trial| trial.most_verified.as_ref())
    {
        Some((program, count)) => {
            Item::ok(name, format!("at most {count} of 1000000, by {program}"))
        }
        None => Item::not_applicable(name, "not told (before 5.16), or not tried"),
    }
}

fn machine(facts: &Facts) -> Item {
    let found = format!("Linux {} on {}", facts.release, facts.machine);
    match facts.machine {
        "x86_64" => Item::ok("kernel", found),
        _ => Item::degraded(
            "kernel",
            format!("{found}, where no test has run"),
            "report what works",
        ),
    }
}

fn bpf(answer: &Answer) -> Item {
    match answer {
        Answer::Yes => Item::ok("bpf", "the system call works"),
        Answer::No => Item::missing("bpf", "the kernel has no BPF", REMEDY_BPF),
        Answer::Refused(reason) => Item::missing(
            "bpf",
            reason,
            "CAP_SYS_ADMIN, and no seccomp filter that refuses bpf()",
        ),
    }
}

fn feature(
    name: &'static str,
    answer: &Answer,
    has: &str,
    without: impl FnOnce(&'static str) -> Item,
) -> Item {
    match answer {
        Answer::Yes => Item::ok(name, has),
        Answer::No => without(name),
        Answer::Refused(reason) => Item::not_applicable(name, format!("no telling: {reason}")),
    }
}
