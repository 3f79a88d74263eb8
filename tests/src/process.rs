//! Child processes that do not outlive their test: each leads a process group, which `Drop` kills,
//! or `orphans` if the test process is killed.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::host_lock;
use crate::orphans;
use crate::poll::poll_until;

/// The distribution's Python, whose `ssl` module uses the distribution's libssl; a version
/// manager's Python may not.
pub const PYTHON: &str = "/usr/bin/python3";

/// Returns the path of a file in `fixtures/`.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// A running child with its output in files; its process group is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: TempDir,
}

impl Process {
    /// Starts `command` as the leader of a new process group.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        host_lock::acquire();
        let name = format!("{command:?}");
        let output = TempDir::new().expect("failed to create a directory for output");
        let file =
            |n: &str| File::create(output.path().join(n)).expect("failed to create an output file");
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {name}: {error}"));
        orphans::add(child.id());
        Self {
            name,
            child,
            output,
        }
    }

    /// Process ID of the child.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that the child has written to stdout.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// Everything that the child has written to stderr.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.output.path().join(name)).expect("failed to read an output file");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Exit status, if the child has ended.
    ///
    /// # Panics
    /// If `waitpid` fails.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("failed to wait for a child")
    }

    /// Sends a signal to the child only, not to its group.
    ///
    /// # Panics
    /// If it has already been waited for.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed());
        kill(pid, signal)
            .unwrap_or_else(|error| panic!("failed to send {signal} to {}: {error}", self.name));
    }

    /// Sends a signal to the child's process group, which includes a server's workers.
    ///
    /// # Panics
    /// If it has already been waited for.
    pub fn signal_group(&self, signal: Signal) {
        let group = Pid::from_raw(self.pid().cast_signed());
        killpg(group, signal)
            .unwrap_or_else(|error| panic!("failed to send {signal} to {}: {error}", self.name));
    }

    /// Waits until stdout contains exactly `text`.
    ///
    /// # Panics
    /// If it does not at the deadline.
    pub fn wait_stdout(&self, text: &str) {
        let what = format!("{} prints {text:?}", self.name);
        poll_until(&what, crate::poll::DEADLINE, || {
            let stdout = self.stdout();
            if stdout == text {
                Ok(())
            } else {
                Err(format!("{stdout:?}; stderr: {}", self.stderr()))
            }
        });
    }

    /// Waits until the child has ended, without collecting its exit status.
    ///
    /// # Panics
    /// If it still runs at the deadline.
    pub fn wait_ended(&self) {
        let path = format!("/proc/{}/stat", self.pid());
        poll_until(
            &format!("death of {}", self.name),
            crate::poll::DEADLINE,
            || {
                let state = fs::read_to_string(&path).unwrap_or_default();
                if state.is_empty() || state.contains(") Z ") {
                    Ok(())
                } else {
                    Err(state)
                }
            },
        );
    }

    /// Waits until the child ends by itself; returns its exit status and the time that this took.
    ///
    /// # Panics
    /// If it still runs at the deadline.
    pub fn wait(&mut self, deadline: Duration) -> (ExitStatus, Duration) {
        let start = Instant::now();
        let what = format!("end of {}", self.name);
        let status = poll_until(&what, deadline, || match self.exit_status() {
            Some(status) => Ok(status),
            None => Err(format!("running; stderr: {}", self.stderr())),
        });
        (status, start.elapsed())
    }

    /// Waits until the child listens on `port` in its network namespace. Does not connect, since
    /// the agent would count the connection.
    ///
    /// # Panics
    /// If it ends or does not listen in time.
    pub fn wait_listening(&mut self, port: u16) {
        let what = format!("{} listens on {port}", self.name);
        poll_until(&what, crate::poll::DEADLINE, || {
            if let Some(status) = self.exit_status() {
                panic!(
                    "{} ended early: {status}; stderr: {}",
                    self.name,
                    self.stderr()
                );
            }
            if listeners(self.pid(), port) > 0 {
                Ok(())
            } else {
                Err(format!("not yet; stderr: {}", self.stderr()))
            }
        });
    }
}

/// Number of sockets in the network namespace of `pid` that listen on `port`, over IPv4 or IPv6.
pub(crate) fn listeners(pid: u32, port: u16) -> usize {
    let table: String = ["tcp", "tcp6"]
        .map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default())
        .concat();
    let suffix = format!(":{port:04X}");
    let listening = table.lines().filter(|line| {
        let mut fields = line.split_whitespace().skip(1);
        // 0A is TCP_LISTEN, include/net/tcp_states.h.
        fields.next().is_some_and(|local| local.ends_with(&suffix)) && fields.nth(1) == Some("0A")
    });
    listening.count()
}

impl Drop for Process {
    fn drop(&mut self) {
        // Workers and forked helpers remain in the group after the leader has ended.
        let _ = killpg(Pid::from_raw(self.pid().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
        orphans::remove(self.pid());
    }
}

/// Runs a command until it ends and returns its stdout.
///
/// # Panics
/// If it cannot be run or fails.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("failed to run {command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}; stderr: {stderr}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
