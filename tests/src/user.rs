//! User and capabilities of the agent: a user without processes, with exactly the capabilities that
//! docs/requirements.md lists for this kernel. Every test therefore shows that they are enough.
//! With `REPRISE_AS_ROOT` (`cargo xtask test --as-root`) the agent is root with all capabilities.

use std::process::Command;

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::utsname::uname;
use nix::unistd::{Uid, chown};
use tempfile::TempDir;

use crate::binary::binary;

/// A user ID without other processes: the agent needs no capability to inspect processes of its own
/// user.
const USER: u32 = 60_797;

/// Environment variable: the agent runs as root.
const ROOT_ENV: &str = "REPRISE_AS_ROOT";

/// Returns a capability set with only these, in the syntax of setpriv(1).
fn capabilities(sets: &[&str]) -> String {
    let added: String = sets.iter().map(|set| format!(",+{set}")).collect();
    format!("-all{added}")
}

/// Returns the capabilities that are documented for this kernel.
fn documented() -> Vec<&'static str> {
    let mut sets = vec!["sys_admin", "dac_read_search", "sys_ptrace"];
    if kernel() < (6, 9) {
        sets.push("net_admin");
    }
    sets
}

/// Returns major and minor number of the kernel's release.
fn kernel() -> (u32, u32) {
    let name = uname().expect("every kernel has a name");
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    let number = next().zip(next());
    number.unwrap_or_else(|| panic!("not a release: {release}"))
}

/// Returns a command prefix that switches to the user; empty if the agent is to run as root.
///
/// # Panics
/// If the memory lock limit of an older kernel cannot be raised.
#[must_use]
pub fn command_prefix() -> Vec<String> {
    if std::env::var_os(ROOT_ENV).is_some() {
        return Vec::new();
    }
    // Documented for older kernels; children inherit the limit.
    if kernel() < (5, 11) {
        setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)
            .expect("failed to lift the memory lock limit");
    }
    let sets = capabilities(&documented());
    [
        "setpriv",
        &format!("--reuid={USER}"),
        &format!("--regid={USER}"),
        "--clear-groups",
        "--no-new-privs",
        &format!("--inh-caps={sets}"),
        &format!("--ambient-caps={sets}"),
        &format!("--bounding-set={sets}"),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Returns a command prefix that runs a command as the manifests do: as root with only these
/// capabilities.
#[must_use]
pub fn confined_root() -> Vec<String> {
    let sets = capabilities(&documented());
    [
        "setpriv",
        "--no-new-privs",
        "--inh-caps=-all",
        &format!("--bounding-set={sets}"),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Returns a command that runs the binary as the user.
#[must_use]
pub fn agent() -> Command {
    let mut words = command_prefix();
    words.push(binary().display().to_string());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// Creates a directory where the user may write; other temporary directories belong to root.
///
/// # Panics
/// If it cannot be created.
#[must_use]
pub fn directory() -> TempDir {
    let directory = TempDir::new().expect("failed to create a directory");
    if !command_prefix().is_empty() {
        let user = Uid::from_raw(USER);
        chown(directory.path(), Some(user), None).expect("failed to give the directory away");
    }
    directory
}
