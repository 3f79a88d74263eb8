//! Real libraries with random damage: the fuzz target `plan` for a stable compiler.
//!
//! `REPRISE_FUZZ_SECONDS` is the duration (default 1); `REPRISE_FUZZ_LIBRARIES` names further
//! libraries, separated by colons. A failure prints the seed of its case, which `REPRISE_FUZZ_SEED`
//! repeats.

use std::time::{Duration, Instant};

use super::super::{Images, Plan, plan};
use super::system;

/// Limit of the time for one plan, in an unoptimised build on a busy machine.
const LONGEST: Duration = Duration::from_secs(10);
/// Distance from a planned address within which bytes are damaged more often, bytes.
const NEAR: u64 = 0x1000;

/// A pseudorandom number generator (Marsaglia, "Xorshift RNGs").
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below the limit, or 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// A place to damage: in the headers and tables at the beginning, near a probe, or anywhere.
fn place(numbers: &mut Numbers, length: usize, plan: &Plan) -> usize {
    let points: Vec<u64> = plan
        .entries
        .iter()
        .chain(&plan.exits)
        .chain(&plan.free)
        .map(|point| point.offset)
        .collect();
    let place = match numbers.below(4) {
        0 => numbers.below(0x400),
        1 => numbers.below(length / 4),
        2 => {
            let point = points.get(numbers.below(points.len())).copied();
            let near = numbers.next() % (2 * NEAR);
            (point.unwrap_or(0) + near).saturating_sub(NEAR) as usize
        }
        _ => numbers.below(length),
    };
    place.min(length.saturating_sub(1))
}

/// The library with up to 48 changes: single bytes, runs of one byte, and pieces of itself.
fn damaged(library: &[u8], plan: &Plan, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed | 1);
    let mut file = library.to_vec();
    for _ in 0..=numbers.below(48) {
        let at = place(&mut numbers, file.len(), plan);
        let length = 1 + numbers.below(16);
        let end = (at + length).min(file.len());
        match numbers.below(8) {
            0 => file[at..end].fill([0, 0xff, 0x80][numbers.below(3)]),
            1 => {
                let from = place(&mut numbers, library.len(), plan);
                let piece = &library[from..(from + length).min(library.len())];
                let end = (at + piece.len()).min(file.len());
                file[at..end].copy_from_slice(&piece[..end - at]);
            }
            _ => file[at] = numbers.next() as u8,
        }
    }
    if numbers.below(16) == 0 {
        file.truncate(numbers.below(library.len()));
    }
    file
}

fn survive(library: &[u8], whole: &Plan, seed: u64) {
    let file = damaged(library, whole, seed);
    let begin = Instant::now();
    let planned = plan(Images {
        ssl: &file,
        crypto: Some(&file),
    });
    assert!(begin.elapsed() < LONGEST, "seed {seed:#x} takes too long");
    if let Ok(plan) = planned {
        let mut points = plan.entries.iter().chain(&plan.exits).chain(&plan.free);
        let inside = points.all(|point| point.offset < file.len() as u64);
        assert!(
            inside,
            "seed {seed:#x} has a probe beyond the end of the file"
        );
    }
}

/// The system's library and those that `REPRISE_FUZZ_LIBRARIES` names.
pub(in crate::plan) fn libraries() -> Vec<Vec<u8>> {
    let named = std::env::var("REPRISE_FUZZ_LIBRARIES").unwrap_or_default();
    let named = named.split(':').filter(|path| !path.is_empty());
    named
        .map(|path| std::fs::read(path).expect("a library that can be read"))
        .chain(system().map(|(ssl, _)| ssl))
        .collect()
}

#[test]
fn damaged_libraries_are_survived() {
    let setting = |name: &str| std::env::var(name).ok();
    let libraries = libraries();
    let plans: Vec<Plan> = libraries
        .iter()
        .map(|ssl| plan(Images { ssl, crypto: None }).expect("a whole library has a plan"))
        .collect();
    if plans.is_empty() {
        eprintln!("NOT RUN: no library to damage");
        return;
    }
    let seconds = setting("REPRISE_FUZZ_SECONDS").map_or(1, |text| text.parse().expect("seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let repeated = setting("REPRISE_FUZZ_SEED").map(|text| {
        u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a hexadecimal seed")
    });
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut cases = 0;
    while Instant::now() < end {
        let seed = repeated.unwrap_or_else(|| numbers.next());
        for (library, whole) in libraries.iter().zip(&plans) {
            let outcome = std::panic::catch_unwind(|| survive(library, whole, seed));
            assert!(
                outcome.is_ok(),
                "seed {seed:#x} panics: {:?}",
                whole.build_id
            );
            cases += 1;
        }
    }
    eprintln!("{cases} damaged libraries in {seconds} s");
}
