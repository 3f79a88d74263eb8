//! Compiles the part of OpenSSL that plans are derived from: all of `ssl/` and a few objects of the
//! crypto library. Takes seconds; a complete build takes minutes.
//!
//! The result is never run: other symbols of the crypto library stay undefined.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::link::link;
use super::objects::crypto_objects;
use super::release::{Release, Variant, sources};
use super::{cache, cached};
use crate::process::run;

/// Version of the build recipe; incremented with every change of this module.
const RECIPE: u32 = 1;

/// A file with and without symbols.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The file with symbols and debug information: the ground truth.
    pub with_symbols: PathBuf,
    /// The stripped file, as distributions ship it.
    pub stripped: PathBuf,
}

/// The files of one release in one variant.
#[derive(Debug, Clone)]
pub struct Built {
    /// libssl, or the program that contains it.
    pub ssl: Pair,
    /// libcrypto; in a program the same file.
    pub crypto: Pair,
}

/// Builds a release, or returns it from the cache.
///
/// # Panics
/// If a tool fails.
#[must_use]
pub fn build(release: Release, variant: Variant) -> Built {
    let name = format!("{}-{}-{:x}", release.1, variant.name(), recipe(variant));
    let directory = cached(&cache("built").join(name), |made| {
        let work = made.join("work");
        fs::create_dir(&work).expect("failed to create a directory");
        let sources = sources(release);
        compile(&sources, &work, variant);
        link(&sources, &work, made, variant);
        fs::remove_dir_all(&work).expect("failed to remove the objects");
    });
    let pair = |kind: &str| {
        let whole = file_beginning(&directory.join("whole"), kind);
        let stripped = directory
            .join("stripped")
            .join(whole.file_name().expect("a file has a name"));
        Pair {
            with_symbols: whole,
            stripped,
        }
    };
    if variant.is_program() {
        let program = pair("program");
        return Built {
            ssl: program.clone(),
            crypto: program,
        };
    }
    Built {
        ssl: pair("libssl"),
        crypto: pair("libcrypto"),
    }
}

/// Hashes everything that affects the result, so that the cache never returns an outdated build.
fn recipe(variant: Variant) -> u64 {
    let mut hasher = DefaultHasher::new();
    (RECIPE, variant.flags(), variant.options()).hash(&mut hasher);
    hasher.finish()
}

fn compile(sources: &Path, work: &Path, variant: Variant) {
    // Earlier releases reject options that only later ones know.
    let options = fs::read_to_string(sources.join("Configure")).expect("failed to read Configure");
    let known = |option: &str| {
        let listed = format!("\"{}\",", option.trim_start_matches("no-"));
        options.lines().any(|line| line.trim() == listed)
    };
    let wanted = ["no-tests", "no-module"].iter().chain(variant.options());
    let mut configure = Command::new("perl");
    configure
        .current_dir(work)
        .arg(sources.join("Configure"))
        .args([variant.platform(), "no-shared"])
        .args(wanted.filter(|option| known(option)))
        .arg(format!("--cross-compile-prefix={}", variant.tools()))
        .arg("-g")
        .args(variant.flags());
    run(&mut configure);
    make(work, ["build_generated"]);
    make(work, ["libssl.a"]);
    let makefile = fs::read_to_string(work.join("Makefile")).expect("failed to read the Makefile");
    make(work, crypto_objects(&makefile));
}

fn make<S: AsRef<std::ffi::OsStr>>(work: &Path, targets: impl IntoIterator<Item = S>) {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    run(Command::new("make")
        .current_dir(work)
        .arg(format!("-j{jobs}"))
        .args(targets));
}

fn file_beginning(directory: &Path, name: &str) -> PathBuf {
    let entries = fs::read_dir(directory).expect("failed to list the cache");
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .find(|path| {
            path.file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(name))
        })
        .unwrap_or_else(|| panic!("no {name} in {}", directory.display()))
}
