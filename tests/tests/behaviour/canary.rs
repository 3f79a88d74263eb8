//! The canary's verdicts equal the effects of probes that are created without the agent and without
//! BPF.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use reprise_tests::agent::command;
use reprise_tests::host_lock;
use reprise_tests::process::{PYTHON, fixture};
use reprise_tests::readiness::parse;
use tempfile::TempDir;

const TRACEFS: &str = "/sys/kernel/tracing";

/// A uprobe created through tracefs; removed when dropped.
struct Probe {
    name: &'static str,
}

impl Probe {
    /// Creates a probe; `kind` is `p` for an entry probe and `r` for a return probe.
    fn create(kind: &'static str, name: &'static str, library: &Path, offset: &str) -> Self {
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

/// Returns whether a process under seccomp survives a call of a function with this probe.
fn survives(kind: Option<(&'static str, &'static str)>) -> bool {
    host_lock::acquire();
    let directory = TempDir::new().expect("failed to create a directory");
    // A copy, so that no other process hits the probe.
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
    let probe = kind.map(|(kind, name)| Probe::create(kind, name, &library, offset.trim()));
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
fn canary_verdicts_equal_the_effects_of_probes() {
    assert!(survives(None), "dies without any probe");
    let items = parse(&command(["check", "--json"]));
    for (kind, name, item) in [
        ("p", "check_entry", "canary:stepped"),
        ("r", "check_return", "canary:return"),
    ] {
        let found = &items[item].found;
        let lives = survives(Some((kind, name)));
        assert_eq!(found.contains(": harmless"), lives, "{item}: {found}");
        assert_eq!(found.contains(": harmful"), !lives, "{item}: {found}");
    }
}
