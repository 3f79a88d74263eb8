//! How long a server under constant load stalls while an agent attaches to it and detaches from it.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use reprise_tests::{
    Agent, Server,
    rustls_pair::{FullClient, TLS13},
    servers::Sessions,
};

/// Time between two requests.
const INTERVAL: Duration = Duration::from_millis(20);
/// Rounds, each with and without an agent; more with `REPRISE_STALLS=N`.
const ROUNDS: u32 = 6;
/// Time that an agent observes between attaching and detaching.
const OBSERVE: Duration = Duration::from_secs(1);
/// Longest stall that attaching or detaching may add, on a machine with other work.
const BOUND: Duration = Duration::from_millis(100);

/// Times of requests, from when each was due: a stall also delays those that follow.
#[derive(Debug, Default)]
struct Times(Vec<Duration>);

impl Times {
    fn percentile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() as f64 * share) as usize;
        sorted
            .get(at.min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }

    fn print(&self, name: &str) {
        let [median, p99, p999, longest] =
            [0.5, 0.99, 0.999, 1.0].map(|share| self.percentile(share).as_secs_f64() * 1e3);
        println!(
            "{name}: {} requests, median {median:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms, \
             longest {longest:.1} ms",
            self.0.len()
        );
    }
}

/// What happens on the host during a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    NoAgent,
    Attaching,
    Observing,
    Detaching,
}

const PHASES: [Phase; 4] = [
    Phase::NoAgent,
    Phase::Attaching,
    Phase::Observing,
    Phase::Detaching,
];

#[test]
fn attaching_and_detaching_stall_a_server_briefly() {
    let server = Server::nginx(Sessions::Tickets);
    let client = FullClient::new(&TLS13);
    let rounds = std::env::var("REPRISE_STALLS")
        .ok()
        .and_then(|text| text.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS);
    let (phase, stop) = (Mutex::new(Phase::NoAgent), AtomicBool::new(false));
    let enter = |new| *phase.lock().expect("no panic") = new;
    let mut times = PHASES.map(|_| Times::default());
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut due = Instant::now();
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                due += INTERVAL;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let before = *phase.lock().expect("no panic");
                client.request(server.port).expect("a request failed");
                times.push((before, due.elapsed()));
            }
            times
        });
        for _ in 0..rounds {
            enter(Phase::Attaching);
            let began = Instant::now();
            let agent = Agent::start([""; 0]);
            agent.wait_libraries(1);
            enter(Phase::Observing);
            thread::sleep(OBSERVE);
            enter(Phase::Detaching);
            let (code, _) = agent.terminate();
            assert_eq!(code, Some(0));
            enter(Phase::NoAgent);
            thread::sleep(began.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        for (phase, time) in load.join().expect("the load failed") {
            times[phase as usize].0.push(time);
        }
    });
    for (phase, times) in PHASES.iter().zip(&times) {
        times.print(&format!("{phase:?}"));
    }
    let [without, with @ ..] = &times;
    let stall = with.iter().map(|times| times.percentile(1.0)).max();
    let stall = stall.expect("three phases");
    assert!(
        stall <= without.percentile(1.0) + BOUND,
        "a request took {stall:?}"
    );
}
