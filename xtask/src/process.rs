//! Child processes and a temporary directory that are removed with their owner.

use std::{
    env, fs, io,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::steps::command_line;

/// Poll interval for the end of a process, and the error of a measured shutdown time.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Returns a command whose process receives `signal` when this process ends, even by SIGKILL.
pub(crate) fn with_parent_death_signal(program: &Path, signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]).arg(program);
    command
}

/// Runs a tool that prints its progress and passes or fails by its exit status.
pub(crate) fn run_shown(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("failed to start {}", command_line(command)))?;
    ensure!(
        status.success(),
        "failed: {} ({status})",
        command_line(command)
    );
    Ok(())
}

/// Child process; killed on drop.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    /// Starts a child in its own process group, which Ctrl-C does not signal.
    pub(crate) fn spawn(name: &'static str, command: &mut Command) -> Result<Self> {
        Self::spawn_foreground(name, command.process_group(0))
    }

    /// Starts a child in the foreground process group, which may read the terminal and receives
    /// Ctrl-C.
    pub(crate) fn spawn_foreground(name: &'static str, command: &mut Command) -> Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("failed to start {name} ({})", command_line(command)))?;
        Ok(Self { name, child })
    }

    /// Returns the exit status if the process has ended.
    pub(crate) fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("failed to wait for {}", self.name))
    }

    /// Process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the pipe to its standard input.
    pub(crate) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends `signal` and waits for the end; kills the process after `timeout`.
    pub(crate) fn stop(&mut self, signal: Signal, timeout: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exit_status()? {
            return Ok(status);
        }
        let pid = i32::try_from(self.child.id()).context("failed to convert a process id")?;
        // The kernel does not reuse the ID of a child before it is waited for.
        kill(Pid::from_raw(pid), signal)
            .with_context(|| format!("failed to send {signal} to {}", self.name))?;
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            thread::sleep(POLL_INTERVAL);
        }
        eprintln!(
            "warning: {} did not end within {timeout:?}, killed",
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
        // A failure cannot be reported from here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Temporary directory; removed with its content on drop.
pub(crate) struct TempDirectory(PathBuf);

impl TempDirectory {
    /// Creates the directory of a command, accessible to root only since it contains a private
    /// key.
    pub(crate) fn create(command: &str) -> Result<Self> {
        let path = env::temp_dir().join(format!("reprise-{command}-{}", process::id()));
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

impl Drop for TempDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: failed to remove {}: {error}", self.0.display());
        }
    }
}

/// Runs a short tool. The error of a failed tool contains its stderr.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("failed to start {}", command_line(command)))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(stderr))
        .with_context(|| format!("failed to run {}", command_line(command)))
}
