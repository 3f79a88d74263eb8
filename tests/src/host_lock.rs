//! A host-wide lock between test processes: one that runs alone holds it exclusively, those that
//! run side by side share it.

use std::fs::File;
use std::sync::OnceLock;

use crate::alone::is_alone;
use crate::own_cgroup;

/// Waits for the host-wide lock and holds it until this process ends. Enters [`own_cgroup`], which
/// child processes inherit.
///
/// # Panics
/// If the lock file cannot be used.
pub fn acquire() {
    HELD.get_or_init(|| {
        let file = locked(is_alone());
        let _ = own_cgroup::enter();
        file
    });
}

/// Runs `body`, which makes TLS handshakes that belong to no test (a download), while no test runs
/// alone in another process.
pub fn hold_during<T>(body: impl FnOnce() -> T) -> T {
    let _held = HELD.get().is_none().then(|| locked(false));
    body()
}

static HELD: OnceLock<File> = OnceLock::new();

fn locked(exclusively: bool) -> File {
    let path = std::env::temp_dir().join("reprise-tests.lock");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.unwrap_or_else(|error| panic!("failed to open {}: {error}", path.display()));
    let locked = match exclusively {
        true => file.lock(),
        false => file.lock_shared(),
    };
    locked.unwrap_or_else(|error| panic!("failed to lock {}: {error}", path.display()));
    file
}
