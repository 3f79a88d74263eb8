//! Processes and a directory that end with their owner, for demo and bench.

use std::{
    env, fs, io,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::steps::shown;

/// How often an ending process is looked at: the error of a measured end.
const POLL: Duration = Duration::from_millis(2);

/// A command whose process is sent this signal when this program dies, even of SIGKILL.
pub(crate) fn bound(program: &Path, signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]).arg(program);
    command
}

/// A child that is killed when this is dropped.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    /// Starts a child that Ctrl-C does not reach: it ends when its owner drops it.
    pub(crate) fn spawn(name: &'static str, command: &mut Command) -> Result<Self> {
        Self::spawn_foreground(name, command.process_group(0))
    }

    /// Starts a child in the terminal's foreground, so that it may read keys, and gets Ctrl-C.
    pub(crate) fn spawn_foreground(name: &'static str, command: &mut Command) -> Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("failed to start {name} ({})", shown(command)))?;
        Ok(Self { name, child })
    }

    /// The status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("failed to wait for {}", self.name))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it this signal and waits; kills it when it takes longer than `grace`.
    pub(crate) fn stop(&mut self, signal: Signal, grace: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        let pid = i32::try_from(self.child.id()).context("failed to convert a process id")?;
        // A child that ended meanwhile is still ours to wait for, so its id is not another's.
        kill(Pid::from_raw(pid), signal)
            .with_context(|| format!("failed to send {signal} to {}", self.name))?;
        let end = Instant::now() + grace;
        while Instant::now() < end {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        eprintln!(
            "warning: {} did not end within {grace:?}: killed",
            self.name
        );
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .with_context(|| format!("failed to kill {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        // Nothing to be done about a child that cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of this run, removed with its content when this is dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Creates it for this verb and for root alone: it holds a private key.
    pub(crate) fn create(verb: &str) -> Result<Self> {
        let path = env::temp_dir().join(format!("reprise-{verb}-{}", process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: failed to remove {}: {error}", self.0.display());
        }
    }
}

/// Runs a short tool to its end; its error output is in the error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("failed to start {}", shown(command)))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(stderr)).with_context(|| format!("failed to run {}", shown(command)))
}
