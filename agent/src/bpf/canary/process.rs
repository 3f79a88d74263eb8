//! A canary process, seen from the agent. A process that hangs is killed; none outlives its
//! [`CanaryProcess`].

use std::{
    io::{self, Read as _, Write as _},
    os::fd::AsFd as _,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::child::{GO, READY, SAME_RESULT};

/// Interval between checks whether the process has ended.
const REAP_INTERVAL: Duration = Duration::from_millis(1);
/// Maximum length of a failure reason that is read from the process, bytes.
const MAX_REASON: u64 = 512;

/// A running canary process.
pub(super) struct CanaryProcess {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

/// How a process that ran normally before its probe was attached ended afterwards.
#[derive(Debug)]
pub(super) struct ChildOutcome {
    /// Whether the probed function returned the same as before; `None` without an answer.
    pub(super) same_result: Option<bool>,
    /// Exit status; `None` if the process had to be killed.
    pub(super) status: Option<ExitStatus>,
}

impl CanaryProcess {
    /// Starts `command`, which runs [`super::child::child_main`].
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(stdin), Some(stdout)) = pipes else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Self {
            child,
            stdin,
            stdout,
        })
    }

    /// Process ID in the agent's PID namespace.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has called the function without a probe, under its filter.
    pub(super) fn wait_ready(&mut self, timeout: Duration) -> Result<(), String> {
        match self.read_byte(timeout) {
            Ok(Some(READY)) => Ok(()),
            Ok(Some(other)) => {
                let mut reason = vec![other];
                let rest = (&mut self.stdout).take(MAX_REASON).read_to_end(&mut reason);
                let reason = String::from_utf8_lossy(&reason);
                Err(match rest {
                    Ok(_) => format!("the process failed: {reason}"),
                    Err(error) => format!("the process failed: {reason} ({error})"),
                })
            }
            Ok(None) => Err(match self.reap(timeout) {
                Ok(Some(status)) => format!("the process ended before any probe: {status}"),
                _ => "the process closed its output before any probe".to_owned(),
            }),
            Err(error) => Err(format!("the process was not ready: {error}")),
        }
    }

    /// Makes the process call the probed function and waits for its end.
    pub(super) fn finish(mut self, timeout: Duration) -> io::Result<ChildOutcome> {
        // If the process is dead already, its exit status is more informative than the broken pipe.
        let _ = self.stdin.write_all(&[GO]);
        let same_result = match self.read_byte(timeout) {
            Ok(answer) => answer.map(|answer| answer == SAME_RESULT),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => None,
            Err(error) => return Err(error),
        };
        let status = self.reap(timeout)?;
        Ok(ChildOutcome {
            same_result,
            status,
        })
    }

    /// The next byte of the output; `None` at its end.
    fn read_byte(&mut self, timeout: Duration) -> io::Result<Option<u8>> {
        let timeout = PollTimeout::try_from(timeout).map_err(io::Error::other)?;
        let mut wanted = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
        if poll(&mut wanted, timeout)? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut byte = [0];
        Ok((self.stdout.read(&mut byte)? == 1).then_some(byte[0]))
    }

    /// Waits for the exit status; `None` if the process still runs after the timeout.
    fn reap(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + timeout;
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() > deadline {
                return Ok(status);
            }
            thread::sleep(REAP_INTERVAL);
        }
    }
}

impl Drop for CanaryProcess {
    fn drop(&mut self) {
        // Both calls do nothing to a process that has been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::canary::effect::{Effect, Harm};

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> CanaryProcess {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        CanaryProcess::start(command).unwrap()
    }

    #[test]
    fn a_process_killed_after_it_was_ready_was_harmed() {
        let mut process = shell("printf r; read go; kill -s SYS $$");
        process.wait_ready(LONG).unwrap();
        let effect = Effect::evaluate(process.finish(LONG), 1);
        assert_eq!(effect, Effect::Harmful(Harm::Killed(libc::SIGSYS)));
    }

    #[test]
    fn the_answer_decides_about_a_process_that_exits() {
        let mut process = shell("printf r; read go; printf y");
        process.wait_ready(LONG).unwrap();
        let outcome = process.finish(LONG).unwrap();
        assert_eq!(outcome.same_result, Some(true));
        assert!(outcome.status.unwrap().success());
        let mut process = shell("printf r; read go; printf n");
        process.wait_ready(LONG).unwrap();
        let effect = Effect::evaluate(process.finish(LONG), 1);
        assert_eq!(effect, Effect::Harmful(Harm::WrongResult));
    }

    #[test]
    fn death_before_any_probe_is_an_error() {
        let early = shell("kill -s KILL $$").wait_ready(LONG).unwrap_err();
        assert!(early.contains("before any probe: signal: 9"), "{early}");
        let refused = shell("printf 'no seccomp'").wait_ready(LONG).unwrap_err();
        assert_eq!(refused, "the process failed: no seccomp");
    }

    #[test]
    fn a_process_that_hangs_is_killed() {
        let late = shell("exec sleep 60").wait_ready(SHORT).unwrap_err();
        assert!(late.contains("was not ready"), "{late}");
        let mut process = shell("printf r; exec sleep 60");
        process.wait_ready(LONG).unwrap();
        let pid = process.pid();
        let effect = Effect::evaluate(process.finish(SHORT), 1);
        assert!(matches!(effect, Effect::Inconclusive(_)));
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
