//! The binary under test.

use std::path::PathBuf;

/// Returns the path of the binary under test.
///
/// # Panics
/// If the environment does not name it or the user is not root: a test that cannot run fails with
/// the reason.
#[must_use]
pub fn binary() -> PathBuf {
    let path = std::env::var_os("REPRISE_BIN").expect(
        "REPRISE_BIN is not set: `cargo xtask test` builds the agent, sets it and runs these tests",
    );
    assert!(
        nix::unistd::geteuid().is_root(),
        "the behaviour tests load BPF programs: run `cargo xtask test` as root"
    );
    path.into()
}
