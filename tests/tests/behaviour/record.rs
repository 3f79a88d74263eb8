//! A replay of a recording gives the same numbers as the live run.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use reprise_tests::agent::{command, recorder};
use reprise_tests::mounts::Mounted;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::Process;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{observe, warm_up};
use reprise_tests::{Agent, Client, Metrics, Server, user};

const NO_ARGUMENTS: [&str; 0] = [];
const FAMILY: &str = "reprise_peer_handshakes_total";

fn replay(path: &str) -> Metrics {
    let output = command(["replay", path, "--metrics"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "stderr: {stderr}");
    let page = String::from_utf8(output.stdout).expect("a page in UTF-8");
    Metrics::parse(&page).unwrap_or_else(|error| panic!("malformed page: {error}"))
}

/// Makes handshakes until a replay of the recorder's output contains one.
fn wait_recorded(recorder: &mut Process, server: &Server, path: &Path) {
    poll_until("a handshake is recorded", DEADLINE, || {
        assert!(
            recorder.exit_status().is_none(),
            "the recorder ended: {}",
            recorder.stderr()
        );
        let _ = Client::new(server.port).once_from("127.0.0.98").run();
        let output = command([
            OsStr::new("replay"),
            path.as_os_str(),
            OsStr::new("--metrics"),
        ]);
        let page = Metrics::parse(&String::from_utf8_lossy(&output.stdout)).unwrap_or_default();
        let seen = page.sum(FAMILY, &[("peer", "127.0.0.98"), ("role", "server")]);
        if seen > 0.0 {
            Ok(())
        } else {
            Err(format!("{output:?}; stderr: {}", recorder.stderr()))
        }
    });
}

#[test]
fn a_replay_equals_the_live_numbers() {
    let directory = user::directory();
    let path = directory.path().join("events");
    let server = Server::haproxy(Sessions::Ids);
    let agent = Agent::start(NO_ARGUMENTS);
    let mut recorder = Process::spawn(&mut recorder(&path));
    wait_recorded(&mut recorder, &server, &path);
    warm_up(&agent, &server);
    let report = observe(
        &agent,
        &server,
        &Client::new(server.port).connections(120),
        120,
    );
    let live = agent.metrics();
    recorder.signal(Signal::SIGTERM);
    let (status, _) = recorder.wait(DEADLINE);
    assert_eq!(status.code(), Some(0), "stderr: {}", recorder.stderr());

    let path = path.display().to_string();
    let replayed = replay(&path);
    for (source, row) in &report.rows {
        for (resumption, count) in [("full", row.full), ("resumed", row.resumed)] {
            let labels = [
                ("peer", source.as_str()),
                ("role", "server"),
                ("resumption", resumption),
            ];
            assert_eq!(
                replayed.sum(FAMILY, &labels),
                f64::from(count),
                "{labels:?}"
            );
            assert_eq!(
                replayed.sum(FAMILY, &labels),
                live.sum(FAMILY, &labels),
                "{labels:?}"
            );
        }
    }
    assert_eq!(replayed.sum("reprise_handshake_failures_total", &[]), 0.0);
    let again = replay(&path);
    let handshakes = |page: &Metrics| page.show("handshakes_total");
    assert_eq!(
        handshakes(&replayed),
        handshakes(&again),
        "a replay is not repeatable"
    );

    // Truncated within an event, as by a full disk: complete events are shown, and the truncation
    // is reported.
    let whole = fs::read(&path).expect("failed to read the recording");
    let cut = directory.path().join("cut").display().to_string();
    fs::write(&cut, &whole[..whole.len() - 7]).expect("failed to write the cut recording");
    let output = command(["replay", &cut, "--metrics"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("recording") && !stderr.contains("panicked"),
        "{stderr}"
    );
    let page = String::from_utf8_lossy(&output.stdout);
    let page = Metrics::parse(&page).unwrap_or_else(|error| panic!("malformed page: {error}"));
    let (have, all) = (page.sum(FAMILY, &[]), replayed.sum(FAMILY, &[]));
    assert!(
        have >= all - 1.0 && have <= all,
        "{have} of {all} handshakes"
    );
}

#[test]
fn a_recording_ends_after_its_duration() {
    let directory = user::directory();
    let path = directory.path().join("events");
    let _server = Server::python(Sessions::Ids);
    let mut recorder = Process::spawn(recorder(&path).args(["--seconds", "1"]));
    let (status, took) = recorder.wait(DEADLINE);
    assert_eq!(status.code(), Some(0), "stderr: {}", recorder.stderr());
    assert!(took.as_secs_f64() >= 0.9, "{took:?}");
    assert_eq!(
        replay(&path.display().to_string()).sum(FAMILY, &[("peer", "127.0.0.2")]),
        0.0
    );
}

#[test]
fn an_unwritable_output_is_an_error() {
    let output = command(["record", "--seconds", "1", "--output", "/proc/no/such/file"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{:?}: {stderr}",
        output.status
    );
    assert!(stderr.contains("/proc/no/such/file"), "{stderr}");
}

#[test]
fn a_full_disk_ends_the_recording_at_once() {
    let disk = Mounted::small();
    let path = disk.at.join("events");
    let server = Server::haproxy(Sessions::Ids);
    let mut recorder = Process::spawn(&mut recorder(&path));
    wait_recorded(&mut recorder, &server, &path);
    let mut filler = File::create(disk.at.join("filler")).expect("failed to create a file");
    while filler.write_all(&[0; 512]).is_ok() {}
    let (status, took) = recorder.wait(DEADLINE);
    let stderr = recorder.stderr();
    assert_eq!(status.code(), Some(1), "stderr: {stderr}");
    assert!(took < Duration::from_secs(10), "{took:?}: {stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("reprise: failed to write the recording")
            && last.contains("No space left on device"),
        "{stderr}"
    );
    // Space that is released afterwards changes nothing: what was recorded is readable.
    drop(filler);
    let recorded = replay(&path.display().to_string());
    let labels = [("peer", "127.0.0.98"), ("role", "server")];
    assert!(recorded.sum(FAMILY, &labels) > 0.0);
}
