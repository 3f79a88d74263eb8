//! The wire tracker under libFuzzer: it accepts segment events of any size and content, and reports
//! at most one handshake for each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reprise_core::pipeline::wire;
use reprise_ebpf::{
    Header, Socket,
    wire::{SEGMENT, Segment},
};
use zerocopy::IntoBytes as _;

fuzz_target!(|events: Vec<(u8, u8, u8, u16, u8, u8, Vec<u8>)>| {
    let mut tracker = wire::Tracker::new(wire::Limits {
        max_connections: 8,
        max_bytes: 64 * 1024,
    });
    let mut reported = 0;
    for (cookie, what, direction, record, seq, skipped, bytes) in &events {
        let segment = Segment {
            header: Header {
                kind: SEGMENT,
                size: 0,
                time_ns: u64::from(*seq),
            },
            socket: Socket {
                cookie: u64::from(*cookie),
                ..Socket::default()
            },
            seq: u32::from(*seq),
            length: bytes.len() as u32,
            what: *what,
            direction: *direction,
            record: *record,
            repeats: 0,
            rtt_us: 0,
            age_ms: 0,
            cgroup: 0,
            skipped: u32::from(*skipped),
            reserved: 0,
        };
        let event = [segment.as_bytes(), bytes].concat();
        assert!(tracker.push(&event, &mut |_| reported += 1).is_ok());
    }
    tracker.expire(u64::MAX, &mut |_| reported += 1);
    assert!(tracker.is_empty() && reported <= events.len());
});
