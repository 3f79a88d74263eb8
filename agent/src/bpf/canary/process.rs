//! One sacrificed process, seen from the agent: started, awaited, told to go on, awaited again. A process that hangs is killed;
//! none outlives its `Flight`.

use std::{
    io::{self, Read as _, Write as _},
    os::fd::AsFd as _,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    Landing,
    child::{GO, READY, RIGHT},
};

/// How often an ended process is looked for: it has said its last word by then.
const REAP: Duration = Duration::from_millis(1);
/// Bytes of a reason that are read.
const REASON: u64 = 512;

/// See the module.
pub(super) struct Flight {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Flight {
    /// Starts `command`, which runs [`super::child::sit`].
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

    /// In the agent's own PID namespace.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has called the functions once, under its filter.
    pub(super) fn ready(&mut self, patience: Duration) -> Result<(), String> {
        match self.byte(patience) {
            Ok(Some(READY)) => Ok(()),
            Ok(Some(other)) => {
                let mut reason = vec![other];
                let rest = (&mut self.stdout).take(REASON).read_to_end(&mut reason);
                let said = String::from_utf8_lossy(&reason);
                Err(match rest {
                    Ok(_) => format!("the process gave up: {said}"),
                    Err(error) => format!("the process gave up: {said} ({error})"),
                })
            }
            Ok(None) => Err(match self.reap(patience) {
                Ok(Some(status)) => format!("the process ended before any probe: {status}"),
                _ => "the process fell silent before any probe".to_owned(),
            }),
            Err(error) => Err(format!("the process did not get ready: {error}")),
        }
    }

    /// Has it call the functions again, probed by now, and end.
    pub(super) fn finish(mut self, patience: Duration) -> io::Result<Landing> {
        // Where it is dead already, its status tells more than the broken pipe.
        let _ = self.stdin.write_all(&[GO]);
        let answer = match self.byte(patience) {
            Ok(answer) => answer.map(|answer| answer == RIGHT),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => None,
            Err(error) => return Err(error),
        };
        let status = self.reap(patience)?;
        Ok(Landing { answer, status })
    }

    /// The next byte; `None` where nothing more will come.
    fn byte(&mut self, patience: Duration) -> io::Result<Option<u8>> {
        let timeout = PollTimeout::try_from(patience).map_err(io::Error::other)?;
        let mut wanted = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
        if poll(&mut wanted, timeout)? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut byte = [0];
        Ok((self.stdout.read(&mut byte)? == 1).then_some(byte[0]))
    }

    /// How it ended; `None` while it still runs at the deadline.
    fn reap(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() > deadline {
                return Ok(status);
            }
            thread::sleep(REAP);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Of no effect on a process that was collected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::canary::{Effect, Harm, judge};

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Flight {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Flight::start(command).unwrap()
    }

    #[test]
    fn a_process_that_is_killed_after_it_was_ready_was_harmed() {
        let mut flight = shell("printf r; read go; kill -s SYS $$");
        flight.ready(LONG).unwrap();
        let effect = judge(flight.finish(LONG), 1);
        assert_eq!(effect, Effect::Harmful(Harm::Killed(libc::SIGSYS)));
    }

    #[test]
    fn a_process_that_answers_and_ends_was_not() {
        let mut flight = shell("printf r; read go; printf y");
        flight.ready(LONG).unwrap();
        let landing = flight.finish(LONG).unwrap();
        assert_eq!(landing.answer, Some(true));
        assert!(landing.status.unwrap().success());
        let mut flight = shell("printf r; read go; printf n");
        flight.ready(LONG).unwrap();
        let effect = judge(flight.finish(LONG), 1);
        assert_eq!(effect, Effect::Harmful(Harm::WrongResult));
    }

    #[test]
    fn death_before_any_probe_proves_nothing() {
        let early = shell("kill -s KILL $$").ready(LONG).unwrap_err();
        assert!(early.contains("before any probe: signal: 9"), "{early}");
        let refused = shell("printf 'no seccomp'").ready(LONG).unwrap_err();
        assert_eq!(refused, "the process gave up: no seccomp");
    }

    #[test]
    fn a_process_that_hangs_is_given_up_and_killed() {
        let late = shell("exec sleep 60").ready(SHORT).unwrap_err();
        assert!(late.contains("did not get ready"), "{late}");
        let mut flight = shell("printf r; exec sleep 60");
        flight.ready(LONG).unwrap();
        let pid = flight.pid();
        assert!(matches!(judge(flight.finish(SHORT), 1), Effect::Untold(_)));
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
