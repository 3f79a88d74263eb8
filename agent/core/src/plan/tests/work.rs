//! The work that files cost: known libraries little, hostile ones at most the limit.
//!
//! `REPRISE_FUZZ_LIBRARIES` names further libraries, separated by colons. In an optimised build the
//! tests also measure the time, since a unit of work must not take much longer than a nanosecond.

use std::time::Duration;

use super::super::{Bytes, Images, MAX_WORK, by_text, defines_tls, needed_crypto, plan_and_count};
use super::{generated, mutation};

/// Limit of the time for the worst file, in an optimised build.
const LONGEST: Duration = Duration::from_secs(1);
/// Work that may exceed the limit: of the step that exceeds it.
const SLACK: u64 = 20_000_000;
/// Size of the largest file that discovery opens, bytes.
const LARGEST: u64 = 512 << 20;

/// A large file that is stored as its beginning and a pattern that is repeated up to its end.
struct Sparse {
    start: Vec<u8>,
    /// The pattern, repeated for eight mebibytes.
    block: Vec<u8>,
    pattern: usize,
    size: u64,
}

impl Bytes for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> bool {
        let readable = (self.block.len() - self.pattern).min(into.len());
        if offset.saturating_add(into.len() as u64) > self.size || readable < into.len() {
            return false;
        }
        let phase = (offset % self.pattern as u64) as usize;
        into.copy_from_slice(&self.block[phase..phase + into.len()]);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(bytes) = self.start.get(start..) {
            let count = bytes.len().min(into.len());
            into[..count].copy_from_slice(&bytes[..count]);
        }
        true
    }
}

/// Makes a library larger, and gives it `count` further segments that hold the whole file.
fn with_segments(library: &[u8], count: u16, flags: u32, pattern: &'static [u8]) -> Sparse {
    let mut start = library.to_vec();
    let table = start.len() as u64;
    let old = u64::from_le_bytes(start[32..40].try_into().unwrap()) as usize;
    let old_count = u16::from_le_bytes(start[56..58].try_into().unwrap());
    start.extend(library[old..old + 56 * usize::from(old_count)].to_vec());
    for index in 0..u64::from(count) {
        start.extend(1_u32.to_le_bytes());
        start.extend(flags.to_le_bytes());
        let address = (index + 1) << 32;
        for word in [0, address, address, LARGEST, LARGEST, 1] {
            start.extend(u64::to_le_bytes(word));
        }
    }
    start[32..40].copy_from_slice(&table.to_le_bytes());
    start[56..58].copy_from_slice(&(old_count + count).to_le_bytes());
    Sparse {
        start,
        block: pattern.repeat((8 << 20) / pattern.len()),
        pattern: pattern.len(),
        size: LARGEST,
    }
}

/// Everything that discovery does with a file; returns the error of the plan and the largest work.
fn examine(file: &dyn Bytes) -> (Option<&'static str>, u64, Duration) {
    let begin = cpu_time();
    let _ = defines_tls(file);
    let _ = needed_crypto(file);
    let (planned, work) = plan_and_count(Images {
        ssl: file,
        crypto: Some(file),
    });
    let planning = cpu_time() - begin;
    let begin = cpu_time();
    let _ = by_text(file);
    let longest = planning.max(cpu_time() - begin);
    (planned.err().map(|error| error.label()), work, longest)
}

/// CPU time of this thread (Documentation/scheduler/sched-stats.rst).
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let first = text.split(' ').next().unwrap();
    Duration::from_nanos(first.parse().unwrap())
}

fn assert_bounded(name: &str, file: &dyn Bytes) -> Option<&'static str> {
    let (error, work, longest) = examine(file);
    eprintln!(
        "{name}: {} M units, {longest:?}, {error:?}",
        work / 1_000_000
    );
    assert!(work <= MAX_WORK + SLACK, "{name} costs {work}");
    if !cfg!(debug_assertions) {
        assert!(longest < LONGEST, "{name} takes {longest:?}");
    }
    error
}

#[test]
fn known_libraries_cost_less_than_half_of_the_limit() {
    for ssl in mutation::libraries() {
        let (error, work, longest) = examine(&ssl);
        let size = ssl.len() >> 20;
        eprintln!("{size} MiB: {} M units, {longest:?}", work / 1_000_000);
        assert_eq!(error, None);
        assert!(work < MAX_WORK / 2, "{work}");
    }
}

#[test]
fn more_segments_than_linkers_write_are_refused() {
    let file = with_segments(&generated::stripped(0x5c).file(), 65_000, 5, &[0]);
    assert_eq!(
        assert_bounded("65,000 segments", &file),
        Some("too_many_segments")
    );
}

#[test]
#[ignore = "takes minutes without optimisation: cargo test --release -p reprise-core --lib -- --ignored work"]
fn overlapping_segments_over_a_sparse_file_cost_the_limit_at_most() {
    let library = generated::stripped(0x5c).file();
    for (name, flags, pattern) in [
        ("zeros as code", 5, &[0_u8; 64][..]),
        ("zeros as constants", 4, &[0; 64]),
        ("jumps of linkage stubs", 5, &[0xff, 0x25]),
        (
            "heads of method tables",
            4,
            &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            "nearly heads of method tables",
            6,
            &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ),
        ("prefixes of version texts", 4, b"OpenSSL OpenSSL \0"),
        ("nearly a source file", 4, b"ssl/handshake_server.c"),
        (
            "nearly all signatures",
            4,
            b"ssl/statem/statem_srvr./src/server/hs.s3_srvr.\0",
        ),
    ] {
        let file = with_segments(&library, 60, flags, pattern);
        assert_bounded(name, &file);
        let none = with_segments(&super::elf_from_code(&[0xc3]), 60, flags, pattern);
        assert_bounded(&format!("{name}, no library"), &none);
    }
}
