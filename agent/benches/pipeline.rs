//! Benchmarks of the pure pipeline, one line of `name value` each. `cargo xtask bench` runs each in
//! a process of its own, so that one does not affect the memory of another.
//!
//! - `throughput`: decoding, correlation and statistics of a recorded stream, events per second.
//! - `memory`: resident memory of the process with 50,000 tracked peers, bytes.
//! - `page`: rendering of a metrics page with 10,000 series of peers, seconds.

use std::{
    hint::black_box,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use enum_map::EnumMap;
use reprise::{
    observed::{Observed, Shared},
    record::{Frame, Recorder, Recording},
    status::{LibraryId, LibraryStatus, Sensor, Status},
    views::metrics::{Format, Page},
};
use reprise_core::pipeline::{
    Pipeline,
    correlate::Bounds,
    peers::Naming,
    record::Record,
    socket::words,
    stats::{Limits, Thresholds},
    wire::{TokenRecord, WireRecord, flag as hello_flag},
};
use reprise_ebpf::{
    Header, Socket,
    handshake::{
        HANDSHAKE, HandshakeEvent, SessionAge, SessionId, flag, outcome, role, socket_source,
    },
    tcp::{RETRANSMIT, TcpEvent},
};
use zerocopy::{FromZeros as _, IntoBytes as _};

const EVENTS: u32 = 2_000_000;
const PEERS: u32 = 50_000;

fn main() {
    match std::env::args()
        .find(|argument| ["throughput", "memory", "page"].contains(&argument.as_str()))
    {
        Some(name) if name == "throughput" => println!("throughput {}", throughput()),
        Some(name) if name == "memory" => println!("memory {}", memory()),
        Some(_) => println!("page {}", page()),
        // `cargo test --benches` and plain `cargo bench`: all of them.
        None => {
            println!("throughput {}", throughput());
            println!("page {}", page());
            println!("memory {}", memory());
        }
    }
}

/// The stream of a busy server, with a retransmission as every twentieth event.
fn recording(events: u32) -> Vec<u8> {
    let mut recorder = Recorder::new(Vec::new()).expect("writing to memory succeeds");
    for index in 0..events {
        let now = u64::from(index) * 100_000;
        let event = handshake(index, now);
        let written = if index.is_multiple_of(20) {
            let lost = TcpEvent {
                header: Header {
                    kind: RETRANSMIT,
                    size: size_of::<TcpEvent>() as u32,
                    time_ns: now,
                },
                state: 1,
                error: 0,
                socket: event.socket,
            };
            recorder.event(lost.as_bytes())
        } else {
            recorder.event(event.as_bytes())
        };
        written.expect("writing to memory succeeds");
    }
    recorder.into_inner()
}

fn handshake(index: u32, now: u64) -> HandshakeEvent {
    let peer = index % PEERS;
    let [_, b, c, d] = peer.to_be_bytes();
    HandshakeEvent {
        header: Header {
            kind: HANDSHAKE,
            size: size_of::<HandshakeEvent>() as u32,
            time_ns: now,
        },
        ssl: u64::from(index),
        begin_ns: now.saturating_sub(2_000_000),
        library_ns: 900_000,
        heard_ns: now,
        tgid: 1,
        tid: 1,
        library: 0,
        drives: 2,
        reason: 0,
        version: 0x0304,
        outcome: if index % 100 == 1 {
            outcome::FAILED
        } else {
            outcome::COMPLETED
        },
        role: role::SERVER,
        hit: u8::from(index.is_multiple_of(2)),
        socket_source: socket_source::IN_CALL,
        flags: 0,
        comm: [0; 16],
        client_random: [0; 32],
        session: SessionAge::default(),
        session_id: SessionId::default(),
        rejected: SessionAge::default(),
        rejected_ns: 0,
        cgroup: 0,
        socket: Socket {
            local: words(Ipv4Addr::new(10, 0, 0, 1).into()),
            remote: words(Ipv4Addr::new(10, b, c, d).into()),
            local_port: 443,
            remote_port: (index % 60_000) as u16 + 1,
            ..Socket::default()
        },
    }
}

fn pipeline(max_peers: u32) -> Pipeline {
    let limits = Limits {
        max_peers: max_peers as usize,
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
    Pipeline::new(limits, bounds, naming)
}

fn feed(pipeline: &mut Pipeline, recorded: &[u8]) {
    let mut recording = Recording::new(recorded).expect("a recording");
    while let Some(Frame::Event(event)) = recording.next_frame().expect("a whole recording") {
        pipeline.push(&event);
        pipeline.push(&Record::Tick(event.time_ns()));
    }
    pipeline.finish();
}

fn hello(index: u32, event: &HandshakeEvent) -> WireRecord {
    let token = |number: u32| TokenRecord {
        hash: u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        key: 0,
        length: 32,
    };
    let mut hello = WireRecord::new_zeroed();
    hello.header.time_ns = event.header.time_ns;
    hello.socket = event.socket;
    hello.begin_ns = event.begin_ns;
    hello.client_random = event.client_random;
    hello.role = event.role;
    hello.version = 0x0303;
    hello.flags = hello_flag::OFFER_READ | hello_flag::ANSWER_READ | hello_flag::FULL;
    hello.given_id = token(index);
    if let Some(last) = index.checked_sub(PEERS) {
        hello.session_id = token(last);
    }
    hello
}

fn throughput() -> f64 {
    let recorded = recording(EVENTS);
    let best = (0..3)
        .map(|_| {
            let mut pipeline = pipeline(PEERS);
            let start = Instant::now();
            feed(&mut pipeline, &recorded);
            let took = start.elapsed();
            // A wrong result would make the time meaningless.
            let stats = &black_box(&pipeline).stats;
            let versions = stats.handshakes.values().flat_map(EnumMap::values);
            let completed: u64 = versions.flat_map(EnumMap::values).sum();
            let failed: u64 = stats.failures.values().flat_map(EnumMap::values).sum();
            assert_eq!(completed + failed, u64::from(EVENTS - EVENTS / 20));
            took
        })
        .min()
        .unwrap_or(Duration::MAX);
    f64::from(EVENTS) / best.as_secs_f64()
}

fn memory() -> u64 {
    let mut pipeline = pipeline(PEERS);
    for index in 0..PEERS * 4 {
        // 2,000 per second. Each client offers its last session, misses, and gets a new one.
        let now = u64::from(index) * 500_000;
        let mut event = handshake(index, now);
        event.hit = 0;
        event.outcome = outcome::COMPLETED;
        event.flags = flag::RANDOM;
        event.client_random[..4].copy_from_slice(&index.to_le_bytes());
        event.client_random[31] = 1;
        pipeline.push(&Record::Wire(hello(index, &event)));
        pipeline.push(&Record::Handshake(event));
        pipeline.push(&Record::Tick(now));
    }
    pipeline.finish();
    assert_eq!(pipeline.stats.peers.len(), PEERS as usize);
    let misses = pipeline.stats.misses.values().flat_map(EnumMap::values);
    let missed: u64 = misses.flat_map(EnumMap::values).sum();
    assert_eq!(missed, u64::from(PEERS * 3));
    let pages = procfs::process::Process::myself()
        .and_then(|me| me.statm())
        .map_or(0, |statm| statm.resident);
    black_box(&pipeline);
    pages * procfs::page_size()
}

fn page() -> f64 {
    // Three series per peer: full, resumed, ratio.
    let peers = 10_000 / 3 + 1;
    let mut pipeline = pipeline(peers);
    for index in 0..peers {
        let mut event = handshake(index, u64::from(index) * 1_000);
        event.outcome = outcome::COMPLETED;
        pipeline.push(&Record::Handshake(event));
    }
    pipeline.finish();
    let mut status = Status {
        libraries: vec![LibraryStatus {
            id: LibraryId(1),
            library: "libssl.so.3".to_owned(),
            version: String::new(),
            entry: String::new(),
            evidence: String::new(),
            path: String::new(),
            build_id: None,
            observed: true,
        }],
        ..Status::default()
    };
    status.sensor_mut(Sensor::Handshake).attached = true;
    let page = Page::new(Shared::new(Observed { pipeline, status }), false);
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        let text = page
            .render(Format::OpenMetrics)
            .expect("writing to a string succeeds");
        assert!(
            text.lines()
                .filter(|line| line.starts_with("reprise_peer_"))
                .count()
                >= 10_000
        );
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}
