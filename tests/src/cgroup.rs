//! Cgroups in the cgroup of the tests, like those of container runtimes and systemd.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::host_lock;
use crate::process::PYTHON;

/// A cgroup; removed when dropped, if it has no more processes.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Creates `name` in the tests' cgroup; the name may be a path.
    ///
    /// # Panics
    /// If there is no cgroup v2 or it cannot be created.
    #[must_use]
    pub fn new(name: &str) -> Self {
        host_lock::acquire();
        let own = host_lock::tests_cgroup().expect("no cgroup v2 is mounted");
        let path = own.join(name);
        fs::create_dir_all(&path).expect("failed to create a cgroup");
        Self { path }
    }

    /// Returns a command that runs the Python interpreter in the cgroup.
    #[must_use]
    pub fn python(&self) -> Command {
        let mut command = self.command();
        command.arg(PYTHON);
        command
    }

    /// Returns a command that runs its further arguments in the cgroup.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("sh");
        let enter = format!(
            "echo $$ > '{}/cgroup.procs' && exec \"$@\"",
            self.path.display()
        );
        command.args(["-c", &enter, "sh"]);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let own = host_lock::tests_cgroup();
        let mut path = self.path.as_path();
        while own.is_some_and(|own| path != own) && fs::remove_dir(path).is_ok() {
            path = path.parent().unwrap_or(path);
        }
    }
}
