//! What the sensors say of themselves: attached or not, what was read and lost, which libraries. Plain data, written by
//! `sensors`, read by every page.

mod coverage;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bpf::means::Means;
use reprise_core::pipeline::reasons::Names;

pub use coverage::{Coverage, Example, MAX_EXAMPLES, Reason, Uncovered};

/// A sensor: programs that are loaded together and fail together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensor {
    /// Uprobes on TLS libraries.
    Handshake,
    /// TCP tracepoints.
    Tcp,
    /// First flights on the wire.
    Wire,
}

impl Sensor {
    /// Every sensor, in the order of their index.
    pub const ALL: [Self; 3] = [Self::Handshake, Self::Tcp, Self::Wire];

    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Tcp => "tcp",
            Self::Wire => "wire",
        }
    }
}

/// What became of an attach point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It works.
    Attached,
    /// This kernel has no such thing.
    Unsupported,
    /// It should work and does not.
    Broken,
    /// Nothing here asks for it.
    NotApplicable,
}

impl Verdict {
    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Unsupported => "unsupported",
            Self::Broken => "broken",
            Self::NotApplicable => "not_applicable",
        }
    }
}

/// Health of one sensor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether its programs are loaded and attached.
    pub attached: bool,
    /// Why not, in words.
    pub reason: Option<String>,
    /// Events read.
    pub events: u64,
    /// Events lost in the kernel or not understood here.
    pub lost: u64,
}

/// One TLS library file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Library {
    /// Names it in [`Coverage::users`].
    #[serde(skip)]
    pub key: u64,
    /// File name.
    pub library: String,
    /// Version text found in it, or `unknown`.
    pub version: String,
    /// How its handshake is hooked; `none` where it is not.
    pub entry: String,
    /// What that rests on, or why it is not observed.
    pub evidence: String,
    /// Where it was found first.
    pub path: String,
    /// GNU build ID.
    pub build_id: Option<String>,
    /// Whether it is observed.
    pub observed: bool,
}

/// Everything the agent says of itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Status {
    /// By [`Sensor`], in its order.
    pub sensors: [Health; Sensor::ALL.len()],
    /// Library files in use or at rest, in order of discovery; at most [`MAX_LIBRARIES`].
    pub libraries: Vec<Library>,
    /// Attach points per probe and verdict.
    #[serde(skip)]
    pub probes: BTreeMap<(&'static str, Verdict), u64>,
    /// Runs and nanoseconds per program by the kernel's own accounting; empty where `kernel.bpf_stats_enabled` is off.
    pub programs: BTreeMap<String, (u64, u64)>,
    /// What the programs were loaded with; `None` before they are.
    #[serde(skip)]
    pub means: Option<Means>,
    /// Instructions that the verifier walked, per program; empty where the kernel does not say (before 5.16).
    #[serde(skip)]
    pub verified: BTreeMap<String, u32>,
    /// Handshakes open now.
    pub open_handshakes: u64,
    /// Connections in their first flight now, as far as the wire shows.
    #[serde(default)]
    pub first_flights: u64,
    /// Connections that were given up in their first flight, for want of room or of patience.
    #[serde(default)]
    pub evicted_flights: u64,
    /// Whether every running process has been looked at once.
    pub scanned: bool,
    /// Who is observed and who is not.
    #[serde(default)]
    pub coverage: Coverage,
    /// Names of error reasons, of all libraries seen so far.
    #[serde(default)]
    pub reasons: Names,
}

impl Library {
    /// What stands for the libraries of handshakes that were counted from the wire alone.
    #[must_use]
    pub fn wire() -> Self {
        Self {
            key: 0,
            library: "wire".to_owned(),
            version: "unknown".to_owned(),
            entry: "cgroup_skb".to_owned(),
            evidence: "first_flight".to_owned(),
            path: String::new(),
            build_id: None,
            observed: true,
        }
    }
}

/// Library files listed; the sensor cannot attach more either.
pub const MAX_LIBRARIES: usize = reprise_ebpf::handshake::MAX_LIBRARIES as usize;

impl Status {
    /// Health of one sensor.
    #[must_use]
    pub const fn sensor(&self, sensor: Sensor) -> &Health {
        &self.sensors[sensor as usize]
    }

    /// Health of one sensor, to change.
    pub const fn sensor_mut(&mut self, sensor: Sensor) -> &mut Health {
        &mut self.sensors[sensor as usize]
    }

    /// Notes what became of an attach point.
    pub fn probe(&mut self, probe: &'static str, verdict: Verdict) {
        *self.probes.entry((probe, verdict)).or_default() += 1;
    }

    /// Notes that attach points are given up.
    pub fn detached(&mut self, probe: &'static str) {
        if let Some(count) = self.probes.get_mut(&(probe, Verdict::Attached)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether handshakes are observed: those of some library, or all that pass on the wire.
    #[must_use]
    pub fn observes_handshakes(&self) -> bool {
        self.sensor(Sensor::Wire).attached
            || self.sensor(Sensor::Handshake).attached
                && self.libraries.iter().any(|library| library.observed)
    }

    /// Why the agent is not ready; `None` when it is.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        let handshake = self.sensor(Sensor::Handshake);
        if !handshake.attached {
            let reason = handshake.reason.as_deref().unwrap_or("still starting");
            return Some(format!("handshake sensor not attached: {reason}"));
        }
        (!self.scanned).then(|| "first scan of processes under way".to_owned())
    }
}
