//! Health of the sensors, event counts, libraries and coverage. Plain data, written by the sensors
//! and the observing loop, read by the views.

mod bpf_mode;
mod coverage;
mod library_id;
mod owner_lookup;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use reprise_core::pipeline::reasons::Names;

pub use self::{
    bpf_mode::{BpfMode, CookieSource, OwnerFields},
    coverage::{Coverage, Example, MAX_EXAMPLES, Reason, Unanswered, Uncovered},
    library_id::LibraryId,
    owner_lookup::{CgroupCounts, OwnerLookup, PathSource},
};

/// A set of programs that are loaded together and fail together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensor {
    /// Uprobes on TLS libraries.
    Handshake,
    /// TCP tracepoints.
    Tcp,
    /// First packets of TLS connections.
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

/// State of an attach point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The program is attached.
    Attached,
    /// The kernel does not have this attach point.
    Unsupported,
    /// The program failed to attach.
    Broken,
    /// The program is not needed on this kernel.
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

/// Health and event counts of one sensor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The programs are loaded and attached.
    pub attached: bool,
    /// Error that prevented the sensor from starting.
    pub reason: Option<String>,
    /// Number of events read.
    pub events: u64,
    /// Number of events lost in the kernel or not decoded.
    pub lost: u64,
}

/// A TLS library file and how it is observed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LibraryStatus {
    /// Key in [`Coverage::users`].
    #[serde(skip)]
    pub id: LibraryId,
    /// File name.
    pub library: String,
    /// Version text found in the file, or `unknown`.
    pub version: String,
    /// Kind of function that is probed; `none` if the library is not observed.
    pub entry: String,
    /// Evidence for the plan, or the reason why the library is not observed.
    pub evidence: String,
    /// Path at which the file was discovered.
    pub path: String,
    /// GNU build ID, hexadecimal.
    pub build_id: Option<String>,
    /// The library is observed.
    pub observed: bool,
}

/// Status of the agent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Status {
    /// Health by [`Sensor`], in the order of [`Sensor::ALL`].
    pub sensors: [Health; Sensor::ALL.len()],
    /// Library files that are mapped or lie in a standard directory, in order of discovery; at most
    /// [`MAX_LIBRARIES`].
    pub libraries: Vec<LibraryStatus>,
    /// Number of attach points per program and verdict.
    #[serde(skip)]
    pub probes: BTreeMap<(&'static str, Verdict), u64>,
    /// Runs and run time in nanoseconds per program, as counted by the kernel; empty if
    /// `kernel.bpf_stats_enabled` is off.
    pub programs: BTreeMap<String, (u64, u64)>,
    /// Mode of the loaded programs; `None` before they are loaded.
    #[serde(skip)]
    pub mode: Option<BpfMode>,
    /// Number of instructions that the verifier processed, per program; empty before kernel 5.16.
    #[serde(skip)]
    pub verified: BTreeMap<String, u32>,
    /// Number of handshakes in progress.
    pub open_handshakes: u64,
    /// Number of handshakes in progress that were evicted because the table, or the share of their
    /// process, was full.
    #[serde(default)]
    pub evicted_handshakes: u64,
    /// Number of connections in their first flight, as seen by the wire sensor.
    #[serde(default)]
    pub first_flights: u64,
    /// Number of connections that were dropped in their first flight because the table was full or
    /// the flight timed out.
    #[serde(default)]
    pub evicted_flights: u64,
    /// How the owners of processes are looked up; `None` before the sensors have started.
    #[serde(skip)]
    pub owner_lookup: Option<OwnerLookup>,
    /// Sizes of the table of cgroups.
    #[serde(default)]
    pub cgroups: CgroupCounts,
    /// Every process that ran at the start has been scanned.
    pub scanned: bool,
    /// Observed and unobserved processes.
    #[serde(default)]
    pub coverage: Coverage,
    /// Names of error reasons of all discovered libraries.
    #[serde(default)]
    pub reasons: Names,
}

impl LibraryStatus {
    /// Entry for handshakes that only the wire sensor observed.
    #[must_use]
    pub fn wire() -> Self {
        Self {
            id: LibraryId::default(),
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

/// Maximum number of listed library files; the sensor cannot attach more.
pub const MAX_LIBRARIES: usize = reprise_ebpf::handshake::MAX_LIBRARIES as usize;

impl Status {
    /// Health of one sensor.
    #[must_use]
    pub const fn sensor(&self, sensor: Sensor) -> &Health {
        &self.sensors[sensor as usize]
    }

    /// Mutable health of one sensor.
    pub const fn sensor_mut(&mut self, sensor: Sensor) -> &mut Health {
        &mut self.sensors[sensor as usize]
    }

    /// Counts an attach point.
    pub fn probe(&mut self, probe: &'static str, verdict: Verdict) {
        *self.probes.entry((probe, verdict)).or_default() += 1;
    }

    /// Removes a detached attach point from the count.
    pub fn detached(&mut self, probe: &'static str) {
        if let Some(count) = self.probes.get_mut(&(probe, Verdict::Attached)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether any handshakes are observed, through a library or on the wire.
    #[must_use]
    pub fn observes_handshakes(&self) -> bool {
        self.sensor(Sensor::Wire).attached
            || self.sensor(Sensor::Handshake).attached
                && self.libraries.iter().any(|library| library.observed)
    }

    /// Reason why the agent is not ready; `None` if it is ready.
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
