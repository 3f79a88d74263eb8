//! Requirements on the kernel: its release and its BPF features.

use super::{facts::Facts, item::Item};
use crate::bpf::{
    features::Answer,
    mode_request::{LibraryData, Transport},
};

const REMEDY_BPF: &str =
    "use a kernel with CONFIG_BPF_SYSCALL, CONFIG_BPF_EVENTS and CONFIG_UPROBE_EVENTS";
const REMEDY_CGROUP: &str = "use a kernel with CONFIG_CGROUP_BPF";

pub(super) fn items(facts: &Facts) -> Vec<Item> {
    let features = &facts.features;
    let has = "available";
    vec![
        machine(facts),
        bpf(&features.bpf),
        feature("bpf_uprobe", &features.uprobe, has, |name| {
            Item::missing(name, "no BPF programs for uprobes", REMEDY_BPF)
        }),
        feature("bpf_tracepoint", &features.tracepoint, has, |name| {
            Item::missing(name, "no BPF programs for tracepoints", REMEDY_BPF)
        }),
        feature("bpf_ring_buffer", &features.ring_buffer, has, |name| {
            Item::ok(name, "not available; perf event arrays are used")
        }),
        feature("bpf_attach_cookie", &features.attach_cookie, has, |name| {
            Item::ok(
                name,
                "not available; each library gets copies of the programs",
            )
        }),
        feature("bpf_perf_link", &features.perf_link, has, |name| {
            Item::ok(name, "not available; ioctl is used to attach")
        }),
        feature(
            "bpf_probe_read_user",
            &features.probe_read_user,
            has,
            |name| Item::ok(name, "not available; bpf_probe_read is used"),
        ),
        feature("bpf_cgroup_skb", &features.cgroup_skb, has, |name| {
            let found =
                "not available: packets are not observed, and offers of clients remain unknown";
            Item::degraded(name, found, REMEDY_CGROUP)
        }),
        feature(
            "bpf_socket_storage",
            &features.socket_storage,
            has,
            |name| {
                let found = "not available: offers of clients remain unknown";
                Item::degraded(name, found, "use kernel 5.2 or later")
            },
        ),
        Item::ok(
            "transport",
            chosen(
                facts.mode.transport(),
                facts.requested.transport != Transport::Auto,
            ),
        ),
        Item::ok(
            "library_data",
            chosen(
                facts.mode.library_data(),
                facts.requested.library_data != LibraryData::Auto,
            ),
        ),
        verified(facts),
        statistics(facts.statistics),
        btf(facts.btf),
        namespaces(&facts.namespaces),
        uprobe_pmu(facts.uprobe_pmu),
    ]
}

fn btf(available: bool) -> Item {
    match available {
        true => Item::ok("btf", "available, used to distinguish network namespaces"),
        false => Item::not_applicable("btf", "not available, see network_namespaces"),
    }
}

fn namespaces(distinguished: &Result<(), String>) -> Item {
    let name = "network_namespaces";
    match distinguished {
        Ok(()) => Item::ok(name, "distinguished"),
        Err(reason) => Item::degraded(
            name,
            format!("{reason}: equal addresses in two namespaces are one service or peer"),
            "use kernel 5.10 or later with CONFIG_DEBUG_INFO_BTF",
        ),
    }
}

fn uprobe_pmu(available: bool) -> Item {
    let found = match available {
        true => "available: uprobes are created without tracefs",
        false => "not available; uprobes are created through tracefs",
    };
    Item::ok("uprobe_pmu", found)
}

fn statistics(enabled: Option<bool>) -> Item {
    let name = "bpf_statistics";
    match enabled {
        Some(true) => Item::ok(name, "on: run times of the programs are exported"),
        Some(false) => Item::not_applicable(
            name,
            "off: run times are not exported; sysctl kernel.bpf_stats_enabled=1 enables them",
        ),
        None => Item::not_applicable(name, "not available"),
    }
}

fn chosen(mode: &str, by_flag: bool) -> String {
    match by_flag {
        true => format!("{mode}, set by a flag"),
        false => mode.to_owned(),
    }
}

/// The limit of the verifier is a million (`BPF_COMPLEXITY_LIMIT_INSNS`, include/linux/bpf.h, 5.2).
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
        None => Item::not_applicable(name, "not known before kernel 5.16 or without a trial"),
    }
}

fn machine(facts: &Facts) -> Item {
    let found = format!("Linux {} on {}", facts.release, facts.machine);
    match facts.machine {
        "x86_64" => Item::ok("kernel", found),
        _ => Item::degraded(
            "kernel",
            format!("{found}, which is not tested"),
            "report your results",
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
            "grant CAP_SYS_ADMIN, and remove a seccomp filter that denies bpf()",
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
        Answer::Refused(reason) => Item::not_applicable(name, format!("not known: {reason}")),
    }
}
