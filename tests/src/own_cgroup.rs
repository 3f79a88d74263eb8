//! The cgroup of this test process. Its children inherit it, and an agent with `--cgroup` observes
//! nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::orphans;

/// Names of the cgroups: the process follows.
const PREFIX: &str = "reprise-tests-";
/// A slice, below which units name their processes.
const SUFFIX: &str = ".slice";

/// Mount point of the cgroup v2 hierarchy, if it is mounted.
///
/// # Panics
/// If the mounts cannot be read.
#[must_use]
pub fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("every process has mounts");
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    mounts.find_map(|mut words| {
        let place = words.nth(1)?;
        (words.next() == Some("cgroup2")).then(|| PathBuf::from(place))
    })
}

/// Enters and returns the cgroup; `None` where no cgroup v2 hierarchy is mounted and an agent
/// observes the whole host.
///
/// # Panics
/// If this process cannot move into the cgroup.
pub fn enter() -> Option<&'static PathBuf> {
    static ENTERED: OnceLock<Option<PathBuf>> = OnceLock::new();
    let entered = ENTERED.get_or_init(|| {
        let root = mount()?;
        sweep(&root);
        let process = std::process::id();
        let own = root.join(format!("{PREFIX}{process}{SUFFIX}"));
        // The watcher stays outside, so that it can remove the cgroup after the test has ended.
        orphans::set_cgroup(&own);
        fs::create_dir_all(&own)
            .and_then(|()| fs::write(own.join("cgroup.procs"), process.to_string()))
            .unwrap_or_else(|error| panic!("failed to enter {}: {error}", own.display()));
        Some(own)
    });
    entered.as_ref()
}

/// Removes the cgroups of test processes that have ended and whose watcher was killed, too.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| {
            let process = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
            process.parse::<u32>().ok()
        });
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            remove(&entry.path());
        }
    }
}

/// Removes a cgroup and those below it, as far as they have no processes.
fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}
