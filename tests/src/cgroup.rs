//! Cgroups in the cgroup of the tests, like those of container runtimes and systemd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host_lock;
use crate::own_cgroup;
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
        let own = own_cgroup::enter().expect("no cgroup v2 is mounted");
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
        let prefix = self.prefix();
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]);
        command
    }

    /// Returns a command prefix that runs a command in the cgroup.
    #[must_use]
    pub fn prefix(&self) -> [String; 4] {
        let enter = format!(
            "echo $$ > '{}/cgroup.procs' && exec \"$@\"",
            self.path.display()
        );
        ["sh", "-c", &enter, "sh"].map(str::to_owned)
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a running process into the cgroup.
    ///
    /// # Panics
    /// If it has ended.
    pub fn move_here(&self, pid: u32) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
            .expect("failed to move a process");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let own = own_cgroup::enter();
        let mut path = self.path.as_path();
        while own.is_some_and(|own| path != own) && fs::remove_dir(path).is_ok() {
            path = path.parent().unwrap_or(path);
        }
    }
}
