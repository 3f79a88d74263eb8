//! One behaviour test at a time on a host: an agent observes every process, those of another test run too.

use std::fs::File;
use std::sync::OnceLock;

/// Waits until no other test process holds the host, and holds it until this process ends.
///
/// # Panics
/// When the lock file cannot be used.
pub fn on_this_host() {
    static HELD: OnceLock<File> = OnceLock::new();
    HELD.get_or_init(|| {
        let path = std::env::temp_dir().join("reprise-tests.lock");
        let file = File::options().create(true).append(true).open(&path);
        let file =
            file.unwrap_or_else(|error| panic!("failed to open {}: {error}", path.display()));
        file.lock()
            .unwrap_or_else(|error| panic!("failed to lock {}: {error}", path.display()));
        file
    });
}
