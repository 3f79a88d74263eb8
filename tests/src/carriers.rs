//! Carriers of OpenSSL whose plans are held to the truth: built here from source, and ready-made
//! ones.
//!
//! Called by `tests/carriers.rs`, `behaviour/ready_made.rs` and `behaviour/programs.rs`. What is
//! built or downloaded stays below `carriers/` in the build directory, so that the next run starts
//! at once; deleting that directory is always safe.
//!
//! Modules: `release` names versions, `build` compiles one, `link` makes files of it; `npm`,
//! `wheel` and `debian` fetch ready-made ones; `layout` reads debug information, `code` symbols,
//! call frames and instructions; `plan` is what the agent says, `verdict` compares.

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

/// The directory `name` of this cache.
///
/// # Panics
/// When it cannot be created.
#[must_use]
pub fn cache(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    // The build directory is the one above `debug/deps` or `release/deps`.
    let target = program.ancestors().nth(3).expect("tests are run by cargo");
    let directory = target.join("carriers").join(name);
    fs::create_dir_all(&directory)
        .unwrap_or_else(|error| panic!("failed to create {}: {error}", directory.display()));
    directory
}

/// What `make` leaves at `path`: taken from the cache where it is there. `make` is given an empty
/// directory, which takes the place of `path` once it is complete.
///
/// # Panics
/// When `make` does, or the disk is full.
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
    // Another test process may have been faster; what it made serves as well.
    if let Err(error) = fs::rename(&made, path) {
        assert!(path.exists(), "failed to move {}: {error}", made.display());
    }
    path.to_owned()
}
