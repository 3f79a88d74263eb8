//! `reprise check`: what it says of this host, and of hosts that lack something, and whether that is true.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use reprise_tests::agent::{binary, command};
use reprise_tests::alone;
use reprise_tests::host::{hiding, public_copy};
use reprise_tests::process::{PYTHON, fixture};
use serde::Deserialize;
use tempfile::TempDir;

const TRACEFS: &str = "/sys/kernel/tracing";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    ready: bool,
    items: Vec<Item>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    name: String,
    verdict: String,
    found: String,
    remedy: Option<String>,
}

/// Parses a report; what it says must agree with the exit status.
fn parse(output: &Output) -> BTreeMap<String, Item> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report: Report = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {stdout}; stderr: {stderr}"));
    let code = if report.ready { 0 } else { 77 };
    assert_eq!(
        output.status.code(),
        Some(code),
        "{report:?}; stderr: {stderr}"
    );
    for item in &report.items {
        let known = ["ok", "degraded", "missing", "n/a"].contains(&item.verdict.as_str());
        assert!(known && !item.found.is_empty(), "{item:?}");
        if item.verdict == "missing" {
            assert!(!report.ready && item.remedy.is_some(), "{item:?}");
            // Whoever reads only the error still learns what to look for.
            assert!(stderr.contains(&item.name), "{item:?}; stderr: {stderr}");
        }
    }
    let count = report.items.len();
    let items: BTreeMap<_, _> = report
        .items
        .into_iter()
        .map(|item| (item.name.clone(), item))
        .collect();
    assert_eq!(items.len(), count, "a name is there twice");
    items
}

/// Runs `check --json` by way of another command.
fn check_under<S: AsRef<str>>(prefix: &[S], path: &str) -> BTreeMap<String, Item> {
    alone::on_this_host();
    let mut words = prefix.iter().map(AsRef::as_ref);
    let mut command = Command::new("timeout");
    command
        .args(["60", words.next().expect("a command")])
        .args(words)
        .args([path, "check", "--json"]);
    parse(&command.output().expect("failed to run timeout"))
}

fn own() -> String {
    binary().display().to_string()
}

#[test]
fn this_host_is_ready_in_words_and_in_json() {
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
fn without_capabilities_it_names_them() {
    let (_directory, path) = public_copy();
    let none = ["setpriv", "--bounding-set=-sys_admin,-bpf,-perfmon"];
    let items = check_under(&none, &path);
    assert_eq!(items["cap_sys_admin"].verdict, "missing");
    // What cannot be asked is not said to be missing.
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
    // Observes, though not everybody.
    let items = check_under(&["setpriv", "--bounding-set=-sys_ptrace"], &path);
    assert_eq!(items["cap_sys_ptrace"].verdict, "degraded");
    assert_eq!(items["sensor:handshake"].verdict, "ok");
}

#[test]
fn the_capabilities_that_it_names_are_enough() {
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
    // As the manifests have it: root, cut down to the same.
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
fn namespaces_of_its_own_are_told() {
    let (_directory, path) = public_copy();
    let items = check_under(&["unshare", "--user", "--map-root-user"], &path);
    assert_eq!(items["user_namespace"].verdict, "missing");
    // There root has every capability, and none counts.
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
fn without_tracefs_it_says_how_to_mount_it() {
    let items = check_under(&hiding("/sys/kernel"), &own());
    let tracefs = &items["tracefs"];
    assert_eq!(tracefs.verdict, "missing");
    let remedy = tracefs.remedy.as_deref().unwrap_or_default();
    assert!(remedy.starts_with("mount -t tracefs"), "{tracefs:?}");
    let tracepoint = &items["tracepoint:tcp/tcp_rcv_space_adjust"];
    assert_eq!(tracepoint.verdict, "n/a");

    // Where only the mount is missing, it has one of its own, and the host none more than before.
    let mounts = || fs::read_to_string("/proc/self/mounts").expect("failed to read the mounts");
    let before = mounts();
    let items = check_under(&hiding("/sys/kernel/tracing /sys/kernel/debug"), &own());
    assert_eq!(items["tracefs"].verdict, "ok");
    assert_eq!(items["sensor:handshake"].verdict, "ok");
    assert_eq!(mounts(), before);
}

#[test]
fn what_is_not_needed_may_be_hidden() {
    let hidden = hiding("/sys/kernel/btf /sys/fs/cgroup");
    let items = check_under(&hidden, &own());
    assert_eq!(items["btf"].verdict, "n/a");
    assert!(
        items["cgroup_v2"].found.contains("not mounted"),
        "{items:?}"
    );
    assert_eq!(items["sensor:handshake"].verdict, "ok");
}

/// A uprobe by tracefs, without any BPF and without the agent; gone when dropped.
struct Probe {
    name: &'static str,
}

impl Probe {
    /// `kind` is `p` for an entry probe and `r` for a return probe.
    fn place(kind: &'static str, name: &'static str, library: &Path, offset: &str) -> Self {
        let probe = Self { name };
        let library = library.display();
        append(
            "uprobe_events",
            &format!("{kind}:reprise/{name} {library}:{offset}"),
        );
        append(&format!("events/reprise/{name}/enable"), "1");
        probe
    }

    fn hits(&self) -> u64 {
        let profile = fs::read_to_string(format!("{TRACEFS}/uprobe_profile"));
        let profile = profile.expect("failed to read uprobe_profile");
        let mut words = profile
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        words
            .find(|words| words.get(1) == Some(&self.name))
            .and_then(|words| words.get(2)?.parse().ok())
            .unwrap_or_else(|| panic!("no {} in {profile}", self.name))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        append(&format!("events/reprise/{}/enable", self.name), "0");
        append("uprobe_events", &format!("-:reprise/{}", self.name));
    }
}

fn append(file: &str, line: &str) {
    let path = format!("{TRACEFS}/{file}");
    let opened = OpenOptions::new().append(true).open(&path);
    opened
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("failed to write {line:?} to {path}: {error}"));
}

/// Whether a process under seccomp lives on, where a function that it calls has this probe.
fn lives_with(kind: Option<(&'static str, &'static str)>) -> bool {
    alone::on_this_host();
    let directory = TempDir::new().expect("failed to create a directory");
    // A copy, so that no other process meets the probe.
    let library = directory.path().join("libm.so");
    fs::copy(system_libm(), &library).expect("failed to copy libm");
    let mut child = Command::new("timeout")
        .args(["20", PYTHON])
        .arg(fixture("confined.py"))
        .arg(&library)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("failed to start python");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut offset = String::new();
    stdout.read_line(&mut offset).expect("python says nothing");
    assert!(offset.starts_with("0x"), "{offset:?}");
    let probe = kind.map(|(kind, name)| Probe::place(kind, name, &library, offset.trim()));
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"\n").expect("python is gone");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("not UTF-8");
    let status = child.wait().expect("failed to wait for python");
    if let Some(probe) = probe {
        assert!(probe.hits() > 0, "the probe was not met");
    }
    let alive = rest == "alive\n";
    assert_eq!(alive, status.success(), "{rest:?}, {status}");
    alive
}

fn system_libm() -> String {
    let maps = Command::new(PYTHON)
        .args(["-c", "import math; print(open('/proc/self/maps').read())"])
        .output()
        .expect("failed to run python");
    let maps = String::from_utf8_lossy(&maps.stdout).into_owned();
    let path = maps
        .split_whitespace()
        .find(|word| word.contains("/libm.so") || word.contains("/libm-"));
    path.expect("python maps no libm").to_owned()
}

#[test]
fn the_canary_tells_what_a_probe_without_the_agent_shows() {
    assert!(lives_with(None), "dies without any probe");
    let items = parse(&command(["check", "--json"]));
    for (kind, name, item) in [
        ("p", "check_entry", "canary:stepped"),
        ("r", "check_return", "canary:return"),
    ] {
        let said = &items[item].found;
        let lives = lives_with(Some((kind, name)));
        assert_eq!(said.contains(": harmless"), lives, "{item}: {said}");
        assert_eq!(said.contains(": harmful"), !lives, "{item}: {said}");
    }
}
