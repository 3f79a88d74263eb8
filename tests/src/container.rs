//! A container without a runtime: a root directory with one program and its libraries, new
//! namespaces, and a cgroup with a name as from Docker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::cgroup::Cgroup;
use crate::process::{Process, run};
use crate::programs::Counts;
use crate::programs::native::Native;

/// A container with its image.
#[derive(Debug)]
pub struct Container {
    cgroup: Cgroup,
    root: TempDir,
}

impl Container {
    /// Creates the image of a program and the libraries that `loader` lists for it; `id` is the
    /// container ID, 64 hexadecimal digits.
    ///
    /// # Panics
    /// If it cannot be created.
    #[must_use]
    pub fn new(id: &str, program: &Native, loader: &[&str]) -> Self {
        let root = TempDir::new().expect("failed to create a root directory");
        let mut list = Command::new(loader[0]);
        let listed = run(list.args(&loader[1..]).arg(program.path()));
        // The loader prints `NAME => PATH (ADDRESS)` for each library and the path alone for
        // itself.
        let paths = listed
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for path in paths.map(Path::new).filter(|path| path.is_file()) {
            copy(path, &inside(root.path(), path));
        }
        copy(program.path(), &root.path().join("client"));
        Self {
            cgroup: Cgroup::new(&format!("docker-{id}.scope")),
            root,
        }
    }

    fn command(&self, words: [String; 2]) -> Command {
        let mut command = self.cgroup.command();
        command.args([
            "unshare",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
        ]);
        command.arg("chroot").arg(self.root.path()).arg("/client");
        command.args(words);
        command
    }

    /// Starts a process in the container that has mapped its library and does nothing else.
    ///
    /// # Panics
    /// If it does not map the library in time.
    #[must_use]
    pub fn start_idle(&self) -> Process {
        let process = Process::spawn(&mut self.command(["0", "0"].map(str::to_owned)));
        process.wait_stdout("mapped\n");
        process
    }

    /// Connects from the container to `port` of the host; every fifth connection offers no session.
    ///
    /// # Panics
    /// If a handshake fails.
    #[must_use]
    pub fn connect(&self, port: u16, connections: u32) -> Counts {
        let output = run(&mut self.command([port.to_string(), connections.to_string()]));
        serde_json::from_str(&output)
            .unwrap_or_else(|error| panic!("no report: {error}: {output:?}"))
    }
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn copy(from: &Path, to: &Path) {
    let directory = to.parent().expect("a file is in a directory");
    fs::create_dir_all(directory)
        .and_then(|()| fs::copy(from, to))
        .unwrap_or_else(|error| panic!("failed to copy {}: {error}", from.display()));
}
