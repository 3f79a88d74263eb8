//! Files that contain OpenSSL, whose plans are compared with the ground truth: built here from
//! source, or ready-made.
//!
//! Used by `tests/carriers.rs`, `behaviour/ready_made.rs` and `behaviour/programs.rs`. Builds and
//! downloads are cached in `carriers/` of the build directory, which may be deleted at any time.
//!
//! Modules: `release` lists versions, `build` compiles one, `link` links it; `npm`, `wheel` and
//! `debian` download ready-made files; `layout` reads debug information, `code` reads symbols, call
//! frames and instructions; `plan` is the agent's plan, `verdict` compares.

pub mod build;
pub mod code;
pub mod debian;
pub mod layout;
mod link;
pub mod npm;
mod objects;
pub mod plan;
pub mod release;
pub mod verdict;
pub mod wheel;

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the directory `name` of this cache.
///
/// # Panics
/// If it cannot be created.
#[must_use]
pub fn cache(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    // The build directory is the parent of `debug/deps` or `release/deps`.
    let target = program.ancestors().nth(3).expect("tests are run by cargo");
    let directory = target.join("carriers").join(name);
    fs::create_dir_all(&directory)
        .unwrap_or_else(|error| panic!("failed to create {}: {error}", directory.display()));
    directory
}

/// Returns `path`, created by `make` unless it is cached. `make` fills an empty directory, which is
/// renamed to `path` once it is complete.
///
/// # Panics
/// If `make` panics or the disk is full.
pub fn cached(path: &Path, make: impl FnOnce(&Path)) -> PathBuf {
    if path.exists() {
        return path.to_owned();
    }
    let parent = path.parent().expect("a path in the cache has a parent");
    fs::create_dir_all(parent).expect("failed to create a directory of the cache");
    let scratch = tempfile::TempDir::new_in(parent).expect("failed to create a directory");
    let made = scratch.path().join("made");
    fs::create_dir(&made).expect("failed to create a directory");
    make(&made);
    // Another test process may have created the same result in the meantime.
    if let Err(error) = fs::rename(&made, path) {
        assert!(path.exists(), "failed to move {}: {error}", made.display());
    }
    path.to_owned()
}
