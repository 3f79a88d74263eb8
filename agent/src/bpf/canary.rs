//! The canary: before a probe is placed into anybody's process, a process of the agent's own that a strict seccomp filter holds
//! goes first. Kernels 6.11 to 6.13 kill filtered processes at a return probe, since it is a system call there that no filter
//! knows; whether this kernel does such a thing with the probes that Reprise uses is asked of the kernel, never of its version.
//!
//! Used by `sensors` at start-up and by `check`. [`perch`] is what the sacrificed process runs, `flight` how it is watched.

pub mod child;
pub mod probes;
mod process;

use std::{
    fmt, io,
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitStatus},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use serde::Serialize;

pub use self::child::Perch;
use self::probes::Probes;
use self::{child::CALLS, process::Flight};

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a kind of probe does to a process under a seccomp filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "effect", content = "detail")]
pub enum Effect {
    /// The probe fired, and the process never noticed.
    Harmless,
    /// The process lived without the probe and not with it.
    Harmful(Harm),
    /// Neither was seen, and why.
    Untold(String),
}

/// What happened to the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    /// This signal ended it.
    Killed(i32),
    /// The probed function returned something else than without the probe.
    WrongResult,
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(signal) => match Signal::try_from(*signal) {
                Ok(signal) => write!(f, "the process was killed by {signal}"),
                Err(_) => write!(f, "the process was killed by signal {signal}"),
            },
            Self::WrongResult => f.write_str("the probed function went wrong"),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Harmless => f.write_str("harmless"),
            Self::Harmful(harm) => write!(f, "harmful: {harm}"),
            Self::Untold(why) => write!(f, "could not be told: {why}"),
        }
    }
}

/// What each kind of probe was found to do. While it lives the probes stay attached to dead processes' memory, and dropping it
/// takes the kernel about a tenth of a second per probe.
pub struct Canary {
    /// In the order that was asked for.
    pub effects: Vec<(Perch, Effect)>,
    probes: Option<Probes>,
}

impl Canary {
    /// Sends one process each to the `perches`. Takes some milliseconds, [`PATIENCE`] at worst.
    #[must_use]
    pub fn send(perches: &[Perch]) -> Self {
        // They start while the probes are loaded.
        let flights: Vec<_> = perches
            .iter()
            .map(|perch| (*perch, Flight::start(itself(*perch))))
            .collect();
        let mut probes = Probes::load().map_err(|error| crate::chain(&error));
        let effects = flights
            .into_iter()
            .map(|(perch, flight)| {
                let effect = match (flight, &mut probes) {
                    (Err(error), _) => Effect::Untold(format!("no process was started: {error}")),
                    (_, Err(reason)) => Effect::Untold(reason.clone()),
                    (Ok(flight), Ok(probes)) => watch(flight, perch, probes),
                };
                (perch, effect)
            })
            .collect();
        Self {
            effects,
            probes: probes.ok(),
        }
    }
}

/// Canaries on their way, on a thread of their own that also takes the probes away again.
pub struct Ahead(mpsc::Receiver<Vec<(Perch, Effect)>>);

impl Ahead {
    /// Sends one to each kind of probe that Reprise uses.
    #[must_use]
    pub fn send() -> Self {
        let (answers, answered) = mpsc::channel();
        let fly = move || {
            let Canary { effects, probes } = Canary::send(&Perch::PLAIN);
            // Nobody listens where the sensor failed of itself.
            let _ = answers.send(effects);
            drop(probes);
        };
        // Not joined: what it still does after its answer is to detach. Without a thread there is no answer.
        let _ = thread::Builder::new().name("canary".to_owned()).spawn(fly);
        Self(answered)
    }

    /// Waits for them.
    #[must_use]
    pub fn effects(self) -> Vec<(Perch, Effect)> {
        let untold = || Effect::Untold("the canary's thread ended without an answer".to_owned());
        self.0
            .recv()
            .unwrap_or_else(|_| Perch::PLAIN.map(|perch| (perch, untold())).to_vec())
    }
}

/// The agent's own executable, told to be a canary.
fn itself(perch: Perch) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["canary", perch.name()]);
    command
}

fn watch(mut flight: Flight, perch: Perch, probes: &mut Probes) -> Effect {
    if let Err(why) = flight.ready(PATIENCE) {
        return Effect::Untold(why);
    }
    if let Err(error) = probes.attach(perch, flight.pid()) {
        return Effect::Untold(crate::chain(&error));
    }
    let landing = flight.finish(PATIENCE);
    judge(landing, probes.hits(perch))
}

/// How a process that had answered before its probe was there ended after it.
#[derive(Debug)]
struct Landing {
    /// Whether the probed function gave what it should; `None` without an answer.
    answer: Option<bool>,
    /// How it ended; `None` where it had to be killed.
    status: Option<ExitStatus>,
}

fn judge(landing: io::Result<Landing>, hits: u64) -> Effect {
    let Landing { answer, status } = match landing {
        Ok(landing) => landing,
        Err(error) => return Effect::Untold(format!("the process was lost: {error}")),
    };
    match (answer, status.map(|status| (status.signal(), status))) {
        (Some(false), _) => Effect::Harmful(Harm::WrongResult),
        (Some(true), Some((None, status))) if status.success() => match hits {
            0 => Effect::Untold(format!("the probe did not fire in {CALLS} calls")),
            _ => Effect::Harmless,
        },
        // It ran the same code under the same filter before, without the probe.
        (_, Some((Some(signal), _))) => Effect::Harmful(Harm::Killed(signal)),
        (_, Some((None, status))) => Effect::Untold(format!("the process ended with {status}")),
        (_, None) => Effect::Untold("the process did not end in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landed(answer: Option<bool>, status: Option<i32>) -> io::Result<Landing> {
        Ok(Landing {
            answer,
            status: status.map(ExitStatus::from_raw),
        })
    }

    #[test]
    fn an_answer_and_a_hit_are_harmless() {
        assert_eq!(judge(landed(Some(true), Some(0)), CALLS), Effect::Harmless);
        let silent = judge(landed(Some(true), Some(0)), 0);
        assert_eq!(
            silent.to_string(),
            "could not be told: the probe did not fire in 8 calls"
        );
    }

    #[test]
    fn death_by_a_signal_is_harm_and_says_which() {
        // The low seven bits of a wait status are the signal; 0x80 says that there is a core.
        for (status, signal) in [(31, 31), (9, 9), (0x80 | 4, 4)] {
            for hits in [0, 1] {
                let effect = judge(landed(None, Some(status)), hits);
                assert_eq!(effect, Effect::Harmful(Harm::Killed(signal)));
            }
        }
        let effect = judge(landed(None, Some(31)), 1);
        assert_eq!(
            effect.to_string(),
            "harmful: the process was killed by SIGSYS"
        );
        let wrong = judge(landed(Some(false), Some(0)), 8);
        assert_eq!(wrong, Effect::Harmful(Harm::WrongResult));
    }

    #[test]
    fn whatever_proves_nothing_is_not_told() {
        let exit_3 = judge(landed(None, Some(3 << 8)), 0);
        assert!(matches!(exit_3, Effect::Untold(why) if why.contains('3')));
        let stuck = judge(landed(None, None), 0);
        assert!(matches!(stuck, Effect::Untold(_)));
        let lost = judge(Err(io::ErrorKind::BrokenPipe.into()), 0);
        assert!(matches!(lost, Effect::Untold(_)));
    }
}
