//! Who the agent is: a user that nobody else is, with the capabilities that docs/operating.md names
//! for this kernel and no other. So every test shows that they are enough; with `REPRISE_AS_ROOT`
//! (`cargo xtask test --as-root`) the agent is root, with all.

use std::process::Command;

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::utsname::uname;
use nix::unistd::{Uid, chown};
use tempfile::TempDir;

use crate::binary::binary;

/// Nobody's, and no server's here: processes of its own user it could look into without any
/// capability.
const USER: u32 = 60_797;

/// Makes the agent root instead.
const ROOT_ENV: &str = "REPRISE_AS_ROOT";

/// These capabilities and no other, as setpriv(1) names sets.
fn capabilities(sets: &[&str]) -> String {
    let added: String = sets.iter().map(|set| format!(",+{set}")).collect();
    format!("-all{added}")
}

/// What this kernel asks for.
fn documented() -> Vec<&'static str> {
    let mut sets = vec!["sys_admin", "dac_read_search", "sys_ptrace"];
    if kernel() < (6, 9) {
        sets.push("net_admin");
    }
    sets
}

/// Major and minor number of the kernel's release.
fn kernel() -> (u32, u32) {
    let name = uname().expect("every kernel has a name");
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    let number = next().zip(next());
    number.unwrap_or_else(|| panic!("not a release: {release}"))
}

/// Words that run another command as that user; none where the agent is to be root.
///
/// # Panics
/// When an older kernel's memory lock limit cannot be lifted.
#[must_use]
pub fn words() -> Vec<String> {
    if std::env::var_os(ROOT_ENV).is_some() {
        return Vec::new();
    }
    // The documents' other wish for older kernels; children inherit it.
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

/// Words that run another command as the manifests do: as root with these capabilities alone.
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

/// The binary under test, run as that user.
#[must_use]
pub fn agent() -> Command {
    let mut words = words();
    words.push(binary().display().to_string());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// A directory where that user may write: other directories for a while are root's alone.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn directory() -> TempDir {
    let directory = TempDir::new().expect("failed to create a directory");
    if !words().is_empty() {
        let user = Uid::from_raw(USER);
        chown(directory.path(), Some(user), None).expect("failed to give the directory away");
    }
    directory
}
