//! A host-wide lock, since an agent observes every process of the host, and a cgroup for the tests,
//! since an agent also observes packets of other programs.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::OnceLock;

/// Waits for the host-wide lock and holds it until this process ends. Enters [`tests_cgroup`],
/// which child processes inherit.
///
/// # Panics
/// If the lock file cannot be used.
pub fn acquire() {
    HELD.get_or_init(|| {
        let file = locked();
        let _ = tests_cgroup();
        file
    });
}

/// Runs `body`, which makes TLS handshakes that belong to no test (a download), while no other test
/// process holds the lock.
pub fn hold_during<T>(body: impl FnOnce() -> T) -> T {
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

/// Mount point of the cgroup v2 hierarchy, if it is mounted.
///
/// # Panics
/// If the mounts cannot be read.
#[must_use]
pub fn cgroup_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("every process has mounts");
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    mounts.find_map(|mut words| {
        let place = words.nth(1)?;
        (words.next() == Some("cgroup2")).then(|| PathBuf::from(place))
    })
}

/// Enters and returns the cgroup of the tests; `None` where no cgroup v2 hierarchy is mounted and
/// an agent observes all packets of the host.
///
/// # Panics
/// If this process cannot move into the cgroup.
pub fn tests_cgroup() -> Option<&'static PathBuf> {
    static ENTERED: OnceLock<Option<PathBuf>> = OnceLock::new();
    let entered = ENTERED.get_or_init(|| {
        let own = cgroup_mount()?.join("reprise-tests.slice");
        fs::create_dir_all(&own)
            .and_then(|()| fs::write(own.join("cgroup.procs"), std::process::id().to_string()))
            .unwrap_or_else(|error| panic!("failed to enter {}: {error}", own.display()));
        Some(own)
    });
    entered.as_ref()
}
