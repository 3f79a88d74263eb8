//! The canary: before the agent attaches a probe to any process, it probes child processes of its
//! own that run under a strict seccomp filter. Kernels 6.11 to 6.13 kill filtered processes at a
//! return probe, which is a system call there that no filter allows. The test asks this kernel
//! about the probes that the agent uses instead of relying on its version.
//!
//! The sensors run it at start-up, and `reprise check` reports its results.

mod child;
pub(crate) mod effect;
mod functions;
pub(crate) mod kind;
mod probes;
mod process;

use std::{process::Command, sync::mpsc, thread, time::Duration};

use self::{effect::Effect, kind::ProbeKind, probes::CanaryProbes, process::CanaryProcess};
use crate::{errors::chain, host::privilege::drop_capabilities};

pub use self::child::child_main;

/// Maximum time that a process may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Results of a canary run. While it lives, the probes stay attached to the memory of ended
/// processes; dropping it takes the kernel about a tenth of a second per probe.
pub(crate) struct Canary {
    /// Effects in the order of the requested kinds.
    pub(crate) effects: Vec<(ProbeKind, Effect)>,
    probes: Option<CanaryProbes>,
}

impl Canary {
    /// Runs one process for each of the `kinds`. Takes some milliseconds, and at most
    /// [`ANSWER_TIMEOUT`] for each step.
    #[must_use]
    pub(crate) fn run(kinds: &[ProbeKind]) -> Self {
        // The processes start while the probes are loaded.
        let processes: Vec<_> = kinds
            .iter()
            .map(|kind| (*kind, CanaryProcess::start(command(*kind))))
            .collect();
        let mut probes = CanaryProbes::load().map_err(|error| chain(&error));
        let effects = processes
            .into_iter()
            .map(|(kind, process)| {
                let effect = match (process, &mut probes) {
                    (Err(error), _) => {
                        Effect::Inconclusive(format!("no process was started: {error}"))
                    }
                    (_, Err(reason)) => Effect::Inconclusive(reason.clone()),
                    (Ok(process), Ok(probes)) => test_twice(process, kind, probes),
                };
                (kind, effect)
            })
            .collect();
        Self {
            effects,
            probes: probes.ok(),
        }
    }
}

/// A canary run on a thread that also detaches the probes afterwards.
pub(super) struct BackgroundCanary(mpsc::Receiver<Vec<(ProbeKind, Effect)>>);

impl BackgroundCanary {
    /// Starts a run with each kind of probe that the agent uses.
    #[must_use]
    pub(super) fn start() -> Self {
        let (sender, receiver) = mpsc::channel();
        let run = move || {
            let Canary { effects, probes } = Canary::run(&ProbeKind::USED);
            // Before the answer, after which the agent gets ready: it is confined then. To detach
            // needs no capability.
            drop_capabilities();
            // The receiver is gone if the sensor failed for another reason.
            let _ = sender.send(effects);
            drop(probes);
        };
        // Not joined: after its answer the thread only detaches. If no thread can be started, the
        // receiver finds the channel closed.
        let _ = thread::Builder::new().name("canary".to_owned()).spawn(run);
        Self(receiver)
    }

    /// Waits for the effects.
    #[must_use]
    pub(super) fn effects(self) -> Vec<(ProbeKind, Effect)> {
        let no_answer =
            || Effect::Inconclusive("the canary's thread ended without an answer".to_owned());
        self.0
            .recv()
            .unwrap_or_else(|_| ProbeKind::USED.map(|kind| (kind, no_answer())).to_vec())
    }
}

/// The agent's own executable with the `canary` subcommand.
fn command(kind: ProbeKind) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["canary", kind.name()]);
    command
}

/// Tests a kind of probe, and a harmful one again: a kernel defect harms the second process as
/// well, but a signal from another program, or from the kernel when memory is short, does not.
fn test_twice(process: CanaryProcess, kind: ProbeKind, probes: &mut CanaryProbes) -> Effect {
    let effect = test(process, kind, probes);
    if !matches!(effect, Effect::Harmful(_)) {
        return effect;
    }
    match CanaryProcess::start(command(kind)) {
        Ok(second) => test(second, kind, probes),
        Err(_) => effect,
    }
}

fn test(mut process: CanaryProcess, kind: ProbeKind, probes: &mut CanaryProbes) -> Effect {
    if let Err(reason) = process.wait_ready(ANSWER_TIMEOUT) {
        return Effect::Inconclusive(reason);
    }
    if let Err(error) = probes.attach(kind, process.pid()) {
        return Effect::Inconclusive(chain(&error));
    }
    let before = probes.hits(kind);
    let outcome = process.finish(ANSWER_TIMEOUT);
    Effect::evaluate(outcome, probes.hits(kind) - before)
}
