//! Lines about the kernel: which one, and what its BPF can do.

use super::{Facts, Item};
use crate::sensors::features::Answer;

const REMEDY_RING: &str = "a kernel of 5.8 or later, or one with ring buffers ported back";
const REMEDY_COOKIE: &str = "a kernel of 5.15 or later, or one with attach cookies ported back";
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
            Item::missing(name, "no ring buffer", REMEDY_RING)
        }),
        feature("bpf_attach_cookie", &features.attach_cookie, has, |name| {
            Item::missing(name, "libraries cannot be told apart", REMEDY_COOKIE)
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
