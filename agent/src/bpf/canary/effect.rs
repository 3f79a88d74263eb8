//! The effect of a kind of probe on the canary process, derived from how the process ended.

use std::{fmt, io, os::unix::process::ExitStatusExt as _};

use nix::sys::signal::Signal;

use super::{child::CALLS, process::ChildOutcome};

/// Effect of a kind of probe on a process with a seccomp filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The probe fired and the process ended normally.
    Harmless,
    /// The process ran normally without the probe and failed with it.
    Harmful(Harm),
    /// The test gave no result, for this reason.
    Inconclusive(String),
}

/// Failure of the canary process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Harm {
    /// This signal killed the process.
    Killed(i32),
    /// The probed function returned a wrong result.
    WrongResult,
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(signal) => match Signal::try_from(*signal) {
                Ok(signal) => write!(f, "the process was killed by {signal}"),
                Err(_) => write!(f, "the process was killed by signal {signal}"),
            },
            Self::WrongResult => f.write_str("the probed function returned a wrong result"),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Harmless => f.write_str("harmless"),
            Self::Harmful(harm) => write!(f, "harmful: {harm}"),
            Self::Inconclusive(reason) => write!(f, "inconclusive: {reason}"),
        }
    }
}

impl Effect {
    /// Evaluates the end of a process that ran normally before its probe was attached; `hits` is
    /// the number of times that the probe fired.
    pub(super) fn evaluate(outcome: io::Result<ChildOutcome>, hits: u64) -> Self {
        let ChildOutcome {
            same_result,
            status,
        } = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return Self::Inconclusive(format!("failed to read its answer: {error}")),
        };
        match (same_result, status.map(|status| (status.signal(), status))) {
            (Some(false), _) => Self::Harmful(Harm::WrongResult),
            (Some(true), Some((None, status))) if status.success() => match hits {
                0 => Self::Inconclusive(format!("the probe did not fire in {CALLS} calls")),
                _ => Self::Harmless,
            },
            // The same code ran under the same filter before, without the probe.
            (_, Some((Some(signal), _))) => Self::Harmful(Harm::Killed(signal)),
            (_, Some((None, status))) => {
                Self::Inconclusive(format!("the process ended with {status}"))
            }
            (_, None) => Self::Inconclusive("the process did not end in time".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::ExitStatus;

    fn evaluate(same_result: Option<bool>, status: Option<i32>, hits: u64) -> Effect {
        let outcome = ChildOutcome {
            same_result,
            status: status.map(ExitStatus::from_raw),
        };
        Effect::evaluate(Ok(outcome), hits)
    }

    #[test]
    fn same_result_and_a_hit_are_harmless() {
        assert_eq!(evaluate(Some(true), Some(0), CALLS), Effect::Harmless);
        assert_eq!(
            evaluate(Some(true), Some(0), 0).to_string(),
            "inconclusive: the probe did not fire in 8 calls"
        );
    }

    #[test]
    fn a_fatal_signal_is_harm_and_is_named() {
        // The low seven bits of a wait status are the signal; 0x80 reports a core dump.
        for (status, signal) in [(31, 31), (9, 9), (0x80 | 4, 4)] {
            for hits in [0, 1] {
                let effect = evaluate(None, Some(status), hits);
                assert_eq!(effect, Effect::Harmful(Harm::Killed(signal)));
            }
        }
        assert_eq!(
            evaluate(None, Some(31), 1).to_string(),
            "harmful: the process was killed by SIGSYS"
        );
        let wrong = evaluate(Some(false), Some(0), 8);
        assert_eq!(wrong, Effect::Harmful(Harm::WrongResult));
    }

    #[test]
    fn an_outcome_without_evidence_is_inconclusive() {
        let exit_3 = evaluate(None, Some(3 << 8), 0);
        assert!(matches!(exit_3, Effect::Inconclusive(reason) if reason.contains('3')));
        let stuck = evaluate(None, None, 0);
        assert!(matches!(stuck, Effect::Inconclusive(_)));
        let lost = Effect::evaluate(Err(io::ErrorKind::BrokenPipe.into()), 0);
        assert!(matches!(lost, Effect::Inconclusive(_)));
    }
}
