//! The planner under libFuzzer: it does a bounded amount of work for any bytes, and what it counts
//! as work is what takes time.
//!
//! The first byte selects the meaning of the rest: a file; code of one of two machines, in a file
//! with exported functions that begin in it; changes to a real library, named by
//! `REPRISE_FUZZ_LIBRARY` or found in Debian's directory; or such a file with many segments that
//! overlap over a large hole.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use reprise_core::plan::{self, Bytes, Images, MAX_WORK, ProbePoint};

/// Functions that a plan looks up.
const NAMES: [&str; 20] = [
    "SSL_set_accept_state",
    "SSL_set_connect_state",
    "TLS_method",
    "TLS_server_method",
    "TLS_client_method",
    "SSLv23_method",
    "SSL_get_state",
    "SSL_state",
    "SSL_in_before",
    "SSL_in_init",
    "SSL_is_server",
    "SSL_session_reused",
    "ssl3_ctrl",
    "SSL_version",
    "SSL_get_rbio",
    "SSL_get_wbio",
    "SSL_get_client_random",
    "SSL_free",
    "ERR_put_error",
    "OpenSSL_version",
];
/// Work of the step that exceeds the limit, at most.
const SLACK: u64 = 20_000_000;
/// CPU time for a unit of work, about a nanosecond in an optimised build, under a sanitizer; and
/// the time that is not counted.
const NS_PER_UNIT: u64 = 40;
const UNCOUNTED: Duration = Duration::from_millis(200);
/// Size of a file with a hole.
const HOLE: u64 = 64 << 20;
/// Offset and address of the code.
const CODE: u64 = 0x1000;

static LIBRARY: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
    let named = std::env::var("REPRISE_FUZZ_LIBRARY").ok();
    let path = named.unwrap_or_else(|| "/usr/lib/x86_64-linux-gnu/libssl.so.3".to_owned());
    std::fs::read(path).ok()
});

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    match kind % 5 {
        0 => run(rest),
        1 => run(&library_with_code(62, rest)),
        2 => run(&library_with_code(183, rest)),
        3 => {
            let count = rest.first().copied().unwrap_or_default();
            run(&Sparse(with_segments(library_with_code(62, rest), count)));
        }
        _ => {
            if let Some(library) = LIBRARY.as_ref() {
                run(&changed(library.clone(), rest));
            }
        }
    }
});

fn run(file: &impl Bytes) {
    let images = Images {
        ssl: file,
        crypto: Some(file),
    };
    let begin = cpu_time();
    let (planned, work) = plan::plan_and_count(images);
    let time = cpu_time() - begin;
    assert!(work <= MAX_WORK + SLACK, "{work} units");
    let allowed = UNCOUNTED + Duration::from_nanos(work * NS_PER_UNIT);
    assert!(time <= allowed, "{time:?} for {work} units");
    if let Ok(plan) = planned {
        let inside = |point: &ProbePoint| point.offset < file.size();
        assert!(plan.entries.iter().chain(&plan.exits).all(inside));
    }
}

/// CPU time of this thread (Documentation/scheduler/sched-stats.rst).
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let first = text.split(' ').next().unwrap();
    Duration::from_nanos(first.parse().unwrap())
}

/// A file that continues with a hole.
struct Sparse(Vec<u8>);

impl Bytes for Sparse {
    fn size(&self) -> u64 {
        HOLE
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> bool {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.0.get(start..).unwrap_or_default();
        let count = bytes.len().min(into.len());
        into.fill(0);
        into[..count].copy_from_slice(&bytes[..count]);
        offset.saturating_add(into.len() as u64) <= HOLE
    }
}

/// Adds segments that hold the whole file.
fn with_segments(mut file: Vec<u8>, count: u8) -> Vec<u8> {
    let table = file.len() as u64;
    file.extend(file[64..64 + 2 * 56].to_vec());
    for index in 0..u64::from(count) {
        file.extend(1_u32.to_le_bytes());
        file.extend((4 + (index as u32 & 3)).to_le_bytes());
        let address = (index + 1) << 32;
        for word in [0, address, address, HOLE, HOLE, 1] {
            file.extend(u64::to_le_bytes(word));
        }
    }
    file[32..40].copy_from_slice(&table.to_le_bytes());
    file[56..58].copy_from_slice(&(2 + u16::from(count)).to_le_bytes());
    file
}

/// A library with `input` as its code. Two bytes of the input are the start of each function.
fn library_with_code(machine: u16, input: &[u8]) -> Vec<u8> {
    let starts = input.get(..NAMES.len() * 2).unwrap_or_default();
    let code = input.get(starts.len()..).unwrap_or_default();
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut tables = Vec::new();
    let mut names = vec![0];
    tables.extend([0; 24]);
    for (name, start) in NAMES.iter().zip(starts.chunks_exact(2)) {
        let start = u64::from(u16::from_le_bytes([start[0], start[1]]));
        let at = CODE + start % (code.len() as u64 + 1) / 4 * 4;
        tables.extend((names.len() as u32).to_le_bytes());
        tables.extend([0x12, 0, 1, 0]);
        tables.extend(at.to_le_bytes());
        tables.extend(1_u64.to_le_bytes());
        names.extend(name.as_bytes());
        names.push(0);
    }
    let symbols = CODE + code.len() as u64;
    let strings = symbols + tables.len() as u64;
    let dynamic = strings + names.len() as u64;
    tables.extend(&names);
    for word in [5, strings, 10, names.len() as u64, 6, symbols, 0, 0] {
        tables.extend(word.to_le_bytes());
    }
    file.extend(3_u16.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    [0_u64, 64, 0]
        .iter()
        .for_each(|word| file.extend(word.to_le_bytes()));
    file.extend(0_u32.to_le_bytes());
    [64_u16, 56, 2, 64, 0, 0]
        .iter()
        .for_each(|half| file.extend(half.to_le_bytes()));
    let size = (code.len() + tables.len()) as u64;
    for (kind, at, size) in [(1_u32, CODE, size), (2, dynamic, 64)] {
        file.extend(kind.to_le_bytes());
        file.extend(5_u32.to_le_bytes());
        [at, at, at, size, size, 8]
            .iter()
            .for_each(|word| file.extend(word.to_le_bytes()));
    }
    file.resize(CODE as usize, 0);
    file.extend(code);
    file.extend(tables);
    file
}

/// A library in which each four bytes of `input` change one byte: three bytes are its offset, one
/// is the new value.
fn changed(mut library: Vec<u8>, input: &[u8]) -> Vec<u8> {
    for change in input.chunks_exact(4) {
        let place = u32::from_le_bytes([change[0], change[1], change[2], 0]) as usize;
        let length = library.len().max(1);
        if let Some(byte) = library.get_mut(place % length) {
            *byte = change[3];
        }
    }
    library
}
