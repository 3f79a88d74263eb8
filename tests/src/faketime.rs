//! libfaketime, which gives a server a clock of its own.

use std::path::Path;

/// Path of the library for programs with threads.
///
/// # Panics
/// If it is not installed.
#[must_use]
pub fn library() -> String {
    let libraries = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"));
    let mut libraries = libraries.into_iter();
    let library = libraries.find(|path| Path::new(path).exists());
    library.expect("faketime is not installed")
}
