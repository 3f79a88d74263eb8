//! Private copies of the distribution's libssl: separate inodes, which the agent has to find and
//! attach to separately.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{PYTHON, run};

/// Returns the path of the libssl that the distribution's Python loads.
///
/// # Panics
/// If Python maps none.
#[must_use]
pub fn system() -> PathBuf {
    let print = "import ssl; print(open('/proc/self/maps').read())";
    let maps = run(Command::new(PYTHON).args(["-c", print]));
    let path = maps.lines().find_map(|line| {
        line.split_whitespace()
            .nth(5)
            .filter(|path| path.contains("/libssl.so"))
    });
    path.expect("Python maps no libssl").into()
}

/// A directory with a copy of libssl, for `LD_LIBRARY_PATH`.
#[derive(Debug)]
pub struct Copy {
    directory: TempDir,
    /// Path of the copy.
    pub path: PathBuf,
}

impl Copy {
    /// Copies the system's libssl.
    ///
    /// # Panics
    /// If it cannot be copied.
    #[must_use]
    pub fn new() -> Self {
        let directory = TempDir::new().expect("failed to create a directory for a library");
        let system = system();
        let path = directory
            .path()
            .join(system.file_name().expect("a library has a file name"));
        fs::copy(&system, &path).expect("failed to copy libssl");
        Self { directory, path }
    }

    /// Directory of the copy.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Default for Copy {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns device and inode of the libssl that process `pid` maps, as in `/proc/PID/maps`, and its
/// path.
///
/// # Panics
/// If it maps none.
#[must_use]
pub fn mapped_by(pid: u32) -> (String, String) {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))
        .expect("failed to read the maps of a server");
    let line = maps
        .lines()
        .find(|line| line.contains("/libssl.so"))
        .expect("the server maps no libssl");
    let fields: Vec<_> = line.split_whitespace().collect();
    (
        format!("{} {}", fields[3], fields[4]),
        fields[5..].join(" "),
    )
}
