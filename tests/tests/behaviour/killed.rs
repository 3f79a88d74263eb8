//! An agent killed at any moment leaves nothing in the kernel and disturbs no handshake, according
//! to client and server.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reprise_tests::binary::binary;
use reprise_tests::bpf::KernelObjects;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{observe, warm_up};
use reprise_tests::{Agent, Client, Report, Server};

const NO_ARGUMENTS: [&str; 0] = [];
/// Number of agents that are killed.
const KILLS: u32 = 20;
/// Minimum of handshakes made meanwhile.
const HANDSHAKES: u32 = 10_000;
/// Workers per client run, and connections of each.
const WORKERS: u32 = 2;
const BATCH: u32 = 500;

/// Makes handshakes until it is stopped and has made enough.
fn load(server: &Server, stop: &AtomicBool) -> Report {
    let mut sum = Report::default();
    let client = Client::new(server.port).connections(BATCH);
    let client = client.workers(WORKERS, "processes");
    while !stop.load(Ordering::Relaxed) || made(&sum) < HANDSHAKES {
        let report = client.run();
        // A failed handshake ends the test with the client's error.
        report.assert_mixed(WORKERS * BATCH);
        sum.merge(&report);
    }
    sum
}

fn made(report: &Report) -> u32 {
    report.total(|row| row.full + row.resumed)
}

/// Phase of the agent when it is killed.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Start: runs canaries, loads programs, attaches.
    Starting,
    /// Observation.
    Observing,
    /// Shutdown after a signal: removes its probes.
    Detaching,
}

/// Kills an agent in this phase, after this fraction of `startup_time`, the time that an agent
/// takes to get ready.
fn kill_one(phase: Phase, fraction: f64, startup_time: Duration) {
    let mut agent = Agent::launch(NO_ARGUMENTS);
    match phase {
        Phase::Starting => {}
        Phase::Observing => agent.wait_ready(),
        Phase::Detaching => {
            agent.wait_ready();
            agent.signal(Signal::SIGTERM);
        }
    }
    // A fixed delay, since the moment itself is varied.
    thread::sleep(startup_time.mul_f64(fraction));
    agent.signal(Signal::SIGKILL);
    let (code, _) = agent.wait_exit();
    assert_eq!(
        code, None,
        "{phase:?} at {fraction}: it ended before it was killed"
    );
}

/// Returns the processes that run the binary: agents, or canaries that were left behind.
fn running_agents() -> Vec<String> {
    let binary = fs::canonicalize(binary()).expect("no binary");
    let processes = fs::read_dir("/proc").expect("no processes").flatten();
    let processes = processes.filter(|process| {
        let program = fs::read_link(process.path().join("exe"));
        program.is_ok_and(|program| program == binary)
    });
    processes
        .map(|process| process.path().display().to_string())
        .collect()
}

#[test]
fn nothing_remains_and_no_handshake_fails() {
    let server = Server::nginx(Sessions::Tickets);
    let before = KernelObjects::list();
    let began = Instant::now();
    let agent = Agent::start(NO_ARGUMENTS);
    let startup_time = began.elapsed();
    agent.wait_libraries(1);
    let during = KernelObjects::list();
    let of_agent = during.added_since(&before);
    for kind in ["program", "map", "link"] {
        assert!(
            of_agent.keys().any(|name| name.starts_with(kind)),
            "no {kind}: {of_agent:?}"
        );
    }
    drop(agent);

    let stop = AtomicBool::new(false);
    let report = thread::scope(|scope| {
        let client = scope.spawn(|| load(&server, &stop));
        for round in 0..KILLS {
            let (phase, most) = match round % 5 {
                0 | 2 | 4 => (Phase::Starting, 1.0),
                1 => (Phase::Observing, 0.3),
                _ => (Phase::Detaching, 0.3),
            };
            let fraction = most * f64::from(round) / f64::from(KILLS);
            kill_one(phase, fraction, startup_time);
            assert!(!client.is_finished(), "the load ended in round {round}");
        }
        stop.store(true, Ordering::Relaxed);
        client.join().expect("the load failed")
    });
    // The access log has one line for each connection.
    let counted = made(&report);
    assert!(counted >= HANDSHAKES);
    assert_eq!(server.access_log().len(), counted as usize);

    poll_until("nothing of it is left in the kernel", DEADLINE, || {
        let now = KernelObjects::list();
        let left = now.added_since(&before);
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    poll_until("no process of it is left", DEADLINE, || {
        let left = running_agents();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    // A later agent observes as usual.
    let agent = Agent::start(NO_ARGUMENTS);
    agent.wait_libraries(1);
    warm_up(&agent, &server);
    observe(
        &agent,
        &server,
        &Client::new(server.port).connections(30),
        30,
    );
    println!(
        "{counted} handshakes, {KILLS} kills, {:?}; ready in {startup_time:?}",
        began.elapsed()
    );
}
