//! Attacks on the HTTP server by local clients, while a thread uses the state as the observing loop
//! does. The attacks with full tables of peers take long without optimization and are ignored by
//! default: `cargo test --release -p reprise --test http_attack -- --ignored --test-threads=1`.

#![expect(clippy::unwrap_used, reason = "an error fails the test")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use reprise::{
    observed::{Observed, Shared},
    status::{Sensor, Status},
    views::http::{self, AccessRules, AllowedHosts, HttpThread},
};
use reprise_core::{
    model::{
        Connection, NetworkEvidence, NetworkNamespace, Observation, Offer, Outcome, Resumption,
        Role, Source, Version,
    },
    pipeline::{
        Pipeline,
        correlate::Bounds,
        peers::Naming,
        stats::{Limits, Thresholds},
    },
};
use tokio::runtime;
use tokio_util::sync::CancellationToken;

/// Clients of an attack.
const CLIENTS: usize = 64;
/// Interval of the observing loop.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// The attacks share the processors and the memory of the process: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn handshake(peer: u32, resumption: Resumption) -> Observation {
    let [_, b, c, d] = peer.to_be_bytes();
    Observation {
        time_ns: 1_000_000_000,
        duration_ns: 1_000_000,
        role: Role::Server,
        tgid: Some(1),
        cgroup: None,
        version: Version::V13,
        outcome: Outcome::Completed(resumption),
        connection: Some(Connection {
            local: SocketAddr::from((Ipv4Addr::LOCALHOST, 443)),
            remote: SocketAddr::from((Ipv4Addr::new(127, b, c, d), 50_000)),
            namespace: NetworkNamespace::Unknown,
        }),
        network: NetworkEvidence::default(),
        source: Source::Wire,
        offer: Offer::Nothing,
        hello: None,
        alert: None,
        conflict: false,
        miss: None,
    }
}

fn observed(peers: u32) -> Observed {
    let limits = Limits {
        max_peers: peers as usize,
        max_services: 1_000,
        max_workloads: 1_000,
        forget_after_ns: u64::MAX,
        forget_peers_after_ns: u64::MAX,
        window_ns: 300_000_000_000,
        thresholds: Thresholds {
            miss_ratio: 0.9,
            min_offers: 20,
        },
    };
    let bounds = Bounds {
        connections: 65_536,
        sessions: 65_536,
        services: 64,
    };
    let naming = Naming::default();
    let mut pipeline = Pipeline::new(limits, bounds, naming.clone());
    for peer in 0..peers {
        for resumption in [Resumption::Full, Resumption::Resumed] {
            pipeline.stats.record(&handshake(peer, resumption), &naming);
        }
    }
    let mut status = Status::default();
    for sensor in [Sensor::Handshake, Sensor::Wire, Sensor::Tcp] {
        status.sensor_mut(sensor).attached = true;
    }
    Observed { pipeline, status }
}

/// A server and a loop that uses its state as the observing loop does.
struct Victim {
    address: SocketAddr,
    shutdown: CancellationToken,
    http: HttpThread,
    observing: thread::JoinHandle<Waits>,
}

/// Times that the observing loop waited for the lock.
#[derive(Debug, Default)]
struct Waits {
    polls: u32,
    longest: Duration,
    total: Duration,
}

impl Victim {
    fn start(peers: u32) -> Self {
        let shared = Shared::new(observed(peers));
        let shutdown = CancellationToken::new();
        let runtime = runtime::Builder::new_current_thread().enable_io().build();
        let bound = async { http::bind("127.0.0.1:0".parse().unwrap()) };
        let listener = runtime.unwrap().block_on(bound).unwrap();
        let address = listener.local_addr().unwrap();
        let rules = AccessRules {
            hosts: AllowedHosts::new(address, Vec::new()),
            config: None,
        };
        let http = http::start(listener, shared.clone(), rules, shutdown.clone()).unwrap();
        let ended = shutdown.clone();
        let observing = thread::spawn(move || observe(&shared, peers, &ended));
        Self {
            address,
            shutdown,
            http,
            observing,
        }
    }

    /// Ends it as SIGTERM does; returns how long that took and how long the observing loop waited.
    fn end(self) -> (Duration, Waits) {
        let begin = Instant::now();
        self.shutdown.cancel();
        let runtime = runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(self.http.join()).unwrap();
        let took = begin.elapsed();
        (took, self.observing.join().unwrap())
    }
}

fn observe(shared: &Shared, peers: u32, ended: &CancellationToken) -> Waits {
    let naming = Naming::default();
    let mut waits = Waits::default();
    while !ended.is_cancelled() {
        let begin = Instant::now();
        let mut observed = shared.lock();
        let wait = begin.elapsed();
        for peer in 0..50 {
            let seen = handshake((waits.polls * 50 + peer) % peers, Resumption::Full);
            observed.pipeline.stats.record(&seen, &naming);
        }
        drop(observed);
        waits.polls += 1;
        waits.longest = waits.longest.max(wait);
        waits.total += wait;
        thread::sleep(POLL_INTERVAL);
    }
    waits
}

/// Sends pipelined requests and reads the responses, until `ended`.
fn pipeline_requests(address: SocketAddr, ended: &AtomicBool, bytes: &AtomicU64) {
    let requests = REQUEST.repeat(16);
    let mut buffer = vec![0; 64 << 10];
    while !ended.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else {
            continue;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
        let _ = stream.set_nonblocking(false);
        while !ended.load(Ordering::Relaxed) {
            if stream.write_all(&requests).is_err() {
                break;
            }
            let mut read = 0;
            // Further requests are sent long before all responses have arrived.
            while read < 1 << 20 && !ended.load(Ordering::Relaxed) {
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(more) => read += more as u64,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
            if read == 0 {
                break;
            }
            bytes.fetch_add(read, Ordering::Relaxed);
        }
    }
}

/// A server that answers at once, apart from the attacked one. Its delays are those of the machine:
/// other processes use the processors as well.
fn control() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the test process.
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 256]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
        }
    });
    address
}

/// The value that 95 of 100 do not exceed.
fn most(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 95 / 100]
}

/// Time until `/readyz` answers.
fn time_ready(address: SocketAddr) -> Duration {
    let begin = Instant::now();
    for _ in 0..3 {
        let mut answer = String::new();
        let asked = TcpStream::connect(address).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        if asked.is_ok() && answer.starts_with("HTTP/1.0 ") {
            return begin.elapsed();
        }
    }
    panic!("/readyz does not answer");
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Results of an attack.
#[derive(Debug)]
struct Result {
    /// Time until `/readyz` answered in 95 of 100 cases.
    ready: Duration,
    /// The same of a server that was not attacked.
    control: Duration,
    added_bytes: u64,
    end: Duration,
    waits: Waits,
}

impl Result {
    fn assert_harmless(&self) {
        println!("{self:?}, {} MB", self.added_bytes >> 20);
        // The machine may delay each of the four threads that take part.
        let limit = Duration::from_millis(200) + 4 * self.control;
        assert!(self.ready < limit, "{self:?}");
        assert!(self.added_bytes < 64 << 20, "{self:?}");
        assert!(self.end < Duration::from_secs(2), "{self:?}");
        // The kernel stores the events of much longer times.
        assert!(self.waits.longest < Duration::from_millis(250), "{self:?}");
    }
}

/// Queries `/readyz` and measures the memory for this time.
fn watch_victim(victim: Victim, duration: Duration, before: u64) -> Result {
    let begin = Instant::now();
    let control_address = control();
    let (mut ready, mut control, mut highest) = (Vec::new(), Vec::new(), before);
    while begin.elapsed() < duration {
        ready.push(time_ready(victim.address));
        control.push(time_ready(control_address));
        highest = highest.max(resident_bytes());
        thread::sleep(Duration::from_millis(20));
    }
    let (end, waits) = victim.end();
    Result {
        ready: most(ready),
        control: most(control),
        added_bytes: highest - before,
        end,
        waits,
    }
}

/// Clients that pipeline requests without end.
fn attack_by_pipelining(peers: u32, duration: Duration) -> Result {
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let victim = Victim::start(peers);
    let before = resident_bytes();
    let ended = Arc::new(AtomicBool::new(false));
    let bytes = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (ended, bytes) = (Arc::clone(&ended), Arc::clone(&bytes));
            let address = victim.address;
            thread::spawn(move || pipeline_requests(address, &ended, &bytes))
        })
        .collect();
    let result = watch_victim(victim, duration, before);
    ended.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    let received = bytes.load(Ordering::Relaxed);
    println!("{} MB sent to attackers", received >> 20);
    assert!(received > 0, "the attack did not reach the server");
    result
}

/// Clients that send a request, wait for the beginning of the response and read no more; new ones
/// replace them each second.
fn attack_without_reading(peers: u32, duration: Duration) -> Result {
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let victim = Victim::start(peers);
    let before = resident_bytes();
    let ended = Arc::new(AtomicBool::new(false));
    let address = victim.address;
    let attacker = {
        let ended = Arc::clone(&ended);
        thread::spawn(move || {
            let mut clients = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                for _ in 0..CLIENTS {
                    let Ok(mut stream) = TcpStream::connect(address) else {
                        continue;
                    };
                    let _ = stream.write_all(REQUEST);
                    clients.push(stream);
                }
                thread::sleep(Duration::from_secs(1));
                let old = clients.len().saturating_sub(4 * CLIENTS);
                drop(clients.drain(..old));
            }
        })
    };
    let result = watch_victim(victim, duration, before);
    ended.store(true, Ordering::Relaxed);
    attacker.join().unwrap();
    result
}

#[test]
fn clients_that_pipeline_requests_do_no_harm() {
    attack_by_pipelining(3_000, Duration::from_secs(3)).assert_harmless();
}

#[test]
fn clients_that_do_not_read_do_no_harm() {
    attack_without_reading(3_000, Duration::from_secs(3)).assert_harmless();
}

#[test]
#[ignore = "takes a minute; run it with optimization"]
fn with_ten_thousand_peers() {
    attack_by_pipelining(10_000, Duration::from_secs(10)).assert_harmless();
    attack_without_reading(10_000, Duration::from_secs(10)).assert_harmless();
}

#[test]
#[ignore = "takes a minute; run it with optimization"]
fn with_sixty_thousand_peers() {
    attack_by_pipelining(60_000, Duration::from_secs(10)).assert_harmless();
    attack_without_reading(60_000, Duration::from_secs(15)).assert_harmless();
}
