//! Signals during the agent's start-up, at many moments of it.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reprise_tests::Agent;
use reprise_tests::poll::DEADLINE;
use serde_json::{Value, json};

const NO_ARGUMENTS: [&str; 0] = [];
/// Longest time from SIGTERM to the end.
const MAX_END: Duration = Duration::from_secs(2);

/// Starts an agent and returns once it handles SIGTERM, which is before anything is loaded.
fn starting() -> Agent {
    let agent = Agent::launch(NO_ARGUMENTS);
    let begun = Instant::now();
    while !catches_sigterm(agent.pid()) {
        assert!(begun.elapsed() < DEADLINE, "{}", agent.stderr());
        sleep(Duration::from_micros(200));
    }
    agent
}

/// Whether a process has a handler for SIGTERM (`SigCgt`, proc_pid_status(5)).
fn catches_sigterm(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (Signal::SIGTERM as u32 - 1) & 1 == 1)
}

/// Duration of an undisturbed start-up, and the state that it leads to.
fn undisturbed() -> (Duration, Value) {
    let mut agent = starting();
    let begun = Instant::now();
    agent.wait_ready();
    (begun.elapsed(), sensors(&agent))
}

/// The mode of the programs and the attached sensors.
fn sensors(agent: &Agent) -> Value {
    let status = agent.get("/api/v1/status").expect("no status");
    let status: Value = serde_json::from_str(&status.body).expect("no JSON");
    let sensors = status["sensors"].as_object().expect("no sensors");
    let attached: Vec<_> = sensors
        .iter()
        .map(|(name, sensor)| (name, &sensor["attached"]))
        .collect();
    json!([status["transport"], status["library_data"], attached])
}

/// Returns `count` moments of a start-up with this duration, and of the time shortly after it.
fn moments(count: u32, start_up: Duration) -> impl Iterator<Item = Duration> {
    (0..count).map(move |moment| start_up * moment / (count - 2))
}

#[test]
fn a_signal_to_end_is_obeyed_at_every_moment() {
    let (start_up, _) = undisturbed();
    for (turn, moment) in moments(24, start_up).enumerate() {
        let signal = [Signal::SIGTERM, Signal::SIGINT][turn % 2];
        let agent = starting();
        sleep(moment);
        agent.signal(signal);
        let (code, took) = agent.wait_exit();
        assert_eq!(code, Some(0), "{signal} after {moment:?} of {start_up:?}");
        assert!(took < MAX_END, "{signal} after {moment:?}: {took:?}");
    }
}

#[test]
fn a_pause_at_any_moment_does_not_fail_the_start_up() {
    let (start_up, expected) = undisturbed();
    for moment in moments(8, start_up) {
        let mut agent = starting();
        sleep(moment);
        // Neither signal can be blocked, so that each interrupts a load.
        for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
            agent.signal(signal);
            sleep(Duration::from_millis(1));
        }
        agent.wait_ready();
        assert_eq!(sensors(&agent), expected, "paused after {moment:?}");
        let (code, _) = agent.terminate();
        assert_eq!(code, Some(0));
    }
}

#[test]
fn requests_to_reload_do_not_fail_the_start_up() {
    let (_, expected) = undisturbed();
    let mut agent = starting();
    let pid = Pid::from_raw(agent.pid() as i32);
    let is_ready = AtomicBool::new(false);
    let signals = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut signals = 0;
            while !is_ready.load(Ordering::SeqCst) {
                kill(pid, Signal::SIGHUP).expect("the agent is gone");
                signals += 1;
                sleep(Duration::from_millis(1));
            }
            signals
        });
        agent.wait_ready();
        is_ready.store(true, Ordering::SeqCst);
        sender.join().expect("the sender panicked")
    });
    assert!(signals > 100, "only {signals} signals");
    assert_eq!(sensors(&agent), expected);
    agent.assert_healthy();
}
