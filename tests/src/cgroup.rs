//! Cgroups below the tests' own, as container runtimes and systemd make them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::alone;
use crate::process::PYTHON;

/// A cgroup; removed when dropped, once its processes are gone.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// At `name` below the tests' own, which may be of several parts.
    ///
    /// # Panics
    /// When there is no cgroup v2, or it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        alone::on_this_host();
        let own = alone::cgroup().expect("no cgroup v2 is mounted");
        let path = own.join(name);
        fs::create_dir_all(&path).expect("failed to create a cgroup");
        Self { path }
    }

    /// A command that runs the interpreter in it.
    #[must_use]
    pub fn python(&self) -> Command {
        let mut command = self.command();
        command.arg(PYTHON);
        command
    }

    /// A command that runs in it what its further arguments say.
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
        let own = alone::cgroup();
        let mut path = self.path.as_path();
        while own.is_some_and(|own| path != own) && fs::remove_dir(path).is_ok() {
            path = path.parent().unwrap_or(path);
        }
    }
}
