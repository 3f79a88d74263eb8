//! libfaketime, which gives a server a clock of its own.

use std::fs;
use std::path::Path;

/// Path of the library for programs with threads.
///
/// # Panics
/// If it is not installed.
#[must_use]
pub fn library() -> String {
    remove_abandoned();
    let libraries = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"));
    let mut libraries = libraries.into_iter();
    let library = libraries.find(|path| Path::new(path).exists());
    library.expect("faketime is not installed")
}

/// Command prefix that gives a program this clock, such as `+2h`.
///
/// The wrapper `faketime` fails where a killed process with its ID has left a semaphore.
///
/// # Panics
/// If the library is not installed.
#[must_use]
pub fn under(clock: &str) -> [String; 3] {
    [
        "env".to_owned(),
        format!("LD_PRELOAD={}", library()),
        format!("FAKETIME={clock}"),
    ]
}

/// Removes what killed processes have left in shared memory.
fn remove_abandoned() {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| {
            let pid = name.strip_prefix("sem.faketime_sem_");
            pid.or_else(|| name.strip_prefix("faketime_shm_"))
        });
        if let Some(pid) = pid
            && !Path::new("/proc").join(pid).exists()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}
