//! One behaviour test at a time on a host: an agent observes every process, those of another test
//! run too. And a cgroup of the tests' own, so that the packets of others on the host are nobody's
//! here.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::OnceLock;

/// Waits until no other test process holds the host, and holds it until this process ends. What it
/// starts from here on is in [`cgroup`].
///
/// # Panics
/// When the lock file cannot be used.
pub fn on_this_host() {
    HELD.get_or_init(|| {
        let file = locked();
        let _ = cgroup();
        file
    });
}

/// Runs `body`, which makes handshakes that are no test's (a download), while no test process holds
/// the host.
pub fn for_a_moment<T>(body: impl FnOnce() -> T) -> T {
    let _held = HELD.get().is_none().then(locked);
    body()
}

static HELD: OnceLock<File> = OnceLock::new();

fn locked() -> File {
    let path = std::env::temp_dir().join("reprise-tests.lock");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.unwrap_or_else(|error| panic!("failed to open {}: {error}", path.display()));
    file.lock()
        .unwrap_or_else(|error| panic!("failed to lock {}: {error}", path.display()));
    file
}

/// Where the cgroup v2 hierarchy is mounted, if it is.
///
/// # Panics
/// When the mounts cannot be read.
#[must_use]
pub fn hierarchy() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("every process has mounts");
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    mounts.find_map(|mut words| {
        let place = words.nth(1)?;
        (words.next() == Some("cgroup2")).then(|| PathBuf::from(place))
    })
}

/// The cgroup that this process and its children are in; `None` where the host has no hierarchy
/// (v2) mounted, and so all that happens on it is seen.
///
/// # Panics
/// When there is a hierarchy, and this process cannot move into a cgroup of it.
pub fn cgroup() -> Option<&'static PathBuf> {
    static ENTERED: OnceLock<Option<PathBuf>> = OnceLock::new();
    let entered = ENTERED.get_or_init(|| {
        let own = hierarchy()?.join("reprise-tests");
        fs::create_dir_all(&own)
            .and_then(|()| fs::write(own.join("cgroup.procs"), std::process::id().to_string()))
            .unwrap_or_else(|error| panic!("failed to enter {}: {error}", own.display()));
        Some(own)
    });
    entered.as_ref()
}
