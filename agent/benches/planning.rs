//! Time and memory of planning, for each file on the command line:
//! `cargo bench -p reprise --bench planning -- FILE…`
//!
//! One line per file: the median time of a plan, seconds, and the peak of additional memory, bytes.
//! Without a file it measures the library of this system.

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    time::Instant,
};

use reprise::host::discover::lookup;
use reprise_core::plan::{Images, plan};

/// Plans per file.
const ROUNDS: usize = 21;
/// Paths of the library on the supported distributions.
const SYSTEM: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/libssl.so.3",
    "/usr/lib64/libssl.so.3",
];

fn main() {
    let arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let mut files: Vec<PathBuf> = arguments.filter(|path| path.is_file()).collect();
    if files.is_empty() {
        let system = SYSTEM.iter().map(PathBuf::from).find(|path| path.is_file());
        files.extend(system);
    }
    for file in files {
        measure(&file);
    }
}

fn measure(file: &Path) {
    let found = lookup::from_file(file).expect("a file that can be read");
    let images = Images {
        ssl: &found.ssl,
        crypto: found.crypto.as_ref().map(|image| image as _),
    };
    let before = resident("VmRSS:");
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            let planned = black_box(plan(black_box(images)));
            let took = began.elapsed().as_secs_f64();
            assert!(planned.is_ok(), "{}: {planned:?}", file.display());
            took
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let memory = resident("VmHWM:").saturating_sub(before);
    println!(
        "planning {} {:.4} s {memory} bytes",
        file.display(),
        seconds[ROUNDS / 2]
    );
}

/// Returns a size in `/proc/self/status`, bytes.
fn resident(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let value = status.lines().find_map(|found| found.strip_prefix(line));
    let kilobytes = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.expect("a line of /proc/self/status") * 1024
}
