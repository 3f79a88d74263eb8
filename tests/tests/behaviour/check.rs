//! `reprise check` on this host and on hosts with missing requirements, and whether its report is
//! true.

use std::collections::BTreeMap;
use std::fs;

use reprise_tests::agent::command;
use reprise_tests::binary::binary;
use reprise_tests::host::{hiding, public_copy};
use reprise_tests::readiness::{Item, check_under, parse};

fn own() -> String {
    binary().display().to_string()
}

#[test]
fn this_host_is_ready_in_text_and_in_json() {
    let output = command(["check", "--json"]);
    let items = parse(&output);
    assert_eq!(output.status.code(), Some(0), "{items:?}");
    for name in [
        "kernel",
        "bpf",
        "bpf_uprobe",
        "bpf_tracepoint",
        "bpf_ring_buffer",
        "bpf_attach_cookie",
        "bpf_perf_link",
        "bpf_probe_read_user",
        "bpf_cgroup_skb",
        "bpf_socket_storage",
        "bpf_statistics",
        "btf",
        "uprobe_pmu",
        "user_namespace",
        "pid_namespace",
        "cap_sys_admin",
        "cap_sys_ptrace",
        "cap_dac_read_search",
        "cap_sys_resource",
        "cap_bpf",
        "cap_perfmon",
        "memory_lock",
        "perf_event_paranoid",
        "lockdown",
        "tracefs",
        "tracepoint:tcp/tcp_rcv_space_adjust",
        "tracepoint:tcp/tcp_retransmit_skb",
        "cgroup_v2",
        "map_files",
        "canary:emulated",
        "canary:stepped",
        "canary:nop",
        "canary:return",
        "sensor:handshake",
        "sensor:tcp",
    ] {
        assert!(items.contains_key(name), "no {name} in {items:?}");
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("no /proc");
    assert!(items["kernel"].found.contains(release.trim()));
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").expect("no /proc");
    let found = &items["perf_event_paranoid"].found;
    assert!(found.starts_with(paranoid.trim()), "{found}");

    let text = command(["check"]);
    assert_eq!(text.status.code(), Some(0));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let mut lines = text.lines();
    for line in lines.by_ref().take(items.len()) {
        let mut words = line.split_whitespace();
        let (verdict, name) = (words.next(), words.next().unwrap_or_default());
        assert_eq!(
            items.get(name).map(|item| item.verdict.as_str()),
            verdict,
            "{line}"
        );
    }
    let rest: Vec<_> = lines.collect();
    assert_eq!(rest, ["", "ready: handshakes can be observed here"]);
}

#[test]
fn missing_capabilities_are_named() {
    let (_directory, path) = public_copy();
    let none = ["setpriv", "--bounding-set=-sys_admin,-bpf,-perfmon"];
    let items = check_under(&none, &path);
    assert_eq!(items["cap_sys_admin"].verdict, "missing");
    // Items that cannot be checked are not reported as missing.
    assert_eq!(items["bpf_ring_buffer"].verdict, "n/a");
    assert_eq!(items["sensor:handshake"].verdict, "n/a");
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let items = check_under(&nobody, &path);
    for name in ["cap_sys_admin", "cap_dac_read_search"] {
        assert_eq!(items[name].verdict, "missing", "{items:?}");
    }
    // It observes, but not every process.
    let items = check_under(&["setpriv", "--bounding-set=-sys_ptrace"], &path);
    assert_eq!(items["cap_sys_ptrace"].verdict, "degraded");
    assert_eq!(items["sensor:handshake"].verdict, "ok");
}

#[test]
fn the_named_capabilities_are_enough() {
    let (_directory, path) = public_copy();
    let capabilities = "+sys_admin,+dac_read_search,+sys_ptrace";
    let user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        &format!("--inh-caps=-all,{capabilities}"),
        &format!("--ambient-caps=-all,{capabilities}"),
        "--bounding-set=-all,+sys_admin,+dac_read_search,+sys_ptrace",
    ];
    // As in the manifests: root with the same capabilities.
    let root = [
        "setpriv",
        "--no-new-privs",
        "--inh-caps=-all",
        "--bounding-set=-all,+sys_admin,+dac_read_search,+sys_ptrace",
    ];
    for items in [check_under(&user, &path), check_under(&root, &path)] {
        assert_enough(&items);
    }
}

fn assert_enough(items: &BTreeMap<String, Item>) {
    for name in [
        "sensor:handshake",
        "sensor:tcp",
        "canary:emulated",
        "map_files",
    ] {
        assert_eq!(items[name].verdict, "ok", "{items:?}");
    }
}

#[test]
fn its_own_namespaces_are_reported() {
    let (_directory, path) = public_copy();
    let items = check_under(&["unshare", "--user", "--map-root-user"], &path);
    assert_eq!(items["user_namespace"].verdict, "missing");
    // There root has every capability, but none applies to the host.
    assert_eq!(items["cap_sys_admin"].verdict, "ok");
    let pids = ["unshare", "--pid", "--fork", "--mount-proc"];
    let items = check_under(&pids, &path);
    let pid = &items["pid_namespace"];
    assert_eq!(pid.verdict, "degraded");
    let remedy = pid.remedy.as_deref().unwrap_or_default();
    assert!(remedy.contains("hostPID"), "{pid:?}");
    assert_eq!(items["canary:emulated"].verdict, "ok", "{items:?}");
}

#[test]
fn missing_tracefs_has_a_remedy() {
    let items = check_under(&hiding("/sys/kernel"), &own());
    let tracefs = &items["tracefs"];
    assert_eq!(tracefs.verdict, "missing");
    let remedy = tracefs.remedy.as_deref().unwrap_or_default();
    assert!(remedy.starts_with("mount -t tracefs"), "{tracefs:?}");
    let tracepoint = &items["tracepoint:tcp/tcp_rcv_space_adjust"];
    assert_eq!(tracepoint.verdict, "n/a");

    // If only the mount is missing, the agent mounts its own, and the host's mounts do not change.
    let mounts = || fs::read_to_string("/proc/self/mounts").expect("failed to read the mounts");
    let before = mounts();
    let items = check_under(&hiding("/sys/kernel/tracing /sys/kernel/debug"), &own());
    assert_eq!(items["tracefs"].verdict, "ok");
    assert_eq!(items["sensor:handshake"].verdict, "ok");
    assert_eq!(mounts(), before);
}

#[test]
fn unneeded_directories_may_be_hidden() {
    let hidden = hiding("/sys/kernel/btf /sys/fs/cgroup");
    let items = check_under(&hidden, &own());
    assert_eq!(items["btf"].verdict, "n/a");
    assert!(
        items["cgroup_v2"].found.contains("not mounted"),
        "{items:?}"
    );
    assert_eq!(items["sensor:handshake"].verdict, "ok");
}
