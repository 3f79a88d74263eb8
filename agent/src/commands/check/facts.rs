//! Facts about the host. Gathering them changes nothing that outlives the process: it attaches the
//! sensors for a moment, and one probe of each kind to child processes of its own.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    time::Instant,
};

use tracing::subscriber::NoSubscriber;

use crate::{
    bpf::{
        self,
        canary::{Canary, effect::Effect, kind::ProbeKind},
        features::Features,
        mode_request::{IncompatibleFlags, ModeRequest},
    },
    host::{
        self,
        capability::{Namespace, NamespaceMembership, Rights},
        cgroup::Cgroup,
        cgroups::Cgroups,
        lockdown::Lockdown,
        memory_lock::MemoryLock,
        tracefs_mount,
    },
    status::{BpfMode, OwnerLookup, Sensor, Status, Verdict},
};

/// Facts about the host.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Kernel release, as in `uname -r`.
    pub(super) release: String,
    /// Architecture of this executable.
    pub(super) machine: &'static str,
    /// Credentials of this process; `None` without `/proc`.
    pub(super) rights: Option<Rights>,
    /// Whether they apply to the host.
    pub(super) user_namespace: NamespaceMembership,
    /// Whether process IDs are those of the host.
    pub(super) pid_namespace: NamespaceMembership,
    /// Lockdown mode of the kernel.
    pub(super) lockdown: Lockdown,
    /// The memory lock limit, raised as far as permitted.
    pub(super) memory_lock: MemoryLock,
    /// `kernel.perf_event_paranoid`.
    pub(super) paranoid: Option<i32>,
    /// BPF features of the kernel.
    pub(super) features: Features,
    /// Mode that the flags request.
    pub(super) requested: ModeRequest,
    /// Mode that is used.
    pub(super) mode: BpfMode,
    /// Whether the kernel has a uprobe PMU, so that uprobes need no entry in tracefs.
    pub(super) uprobe_pmu: bool,
    /// Whether the kernel provides BTF.
    pub(super) btf: bool,
    /// Whether network namespaces are distinguished.
    pub(super) namespaces: Result<(), String>,
    /// `kernel.bpf_stats_enabled`; `None` if the kernel does not have it.
    pub(super) statistics: Option<bool>,
    /// Mount point of tracefs, or the error.
    pub(super) tracefs: Result<PathBuf, String>,
    /// Tracepoints of all sensors.
    pub(super) tracepoints: Vec<TracepointFact>,
    /// The cgroup v2 hierarchy.
    pub(super) cgroup: Cgroup,
    /// Whether mapped files can be opened through `/proc`, even if their paths are gone.
    pub(super) map_files: Result<(), String>,
    /// Result of the trial; `None` if this process may not observe.
    pub(super) trial: Option<Trial>,
}

/// A tracepoint of a sensor.
#[derive(Debug, Clone)]
pub(super) struct TracepointFact {
    /// The sensor.
    pub(super) sensor: Sensor,
    /// `category/name`.
    pub(super) event: &'static str,
    /// Whether the sensor requires it.
    pub(super) vital: bool,
    /// Whether it exists with all fields.
    pub(super) usable: Result<(), String>,
}

/// Result of a trial of probes and sensors.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    /// Effects of probes on a process under seccomp, in the order of `ProbeKind::ALL`.
    pub(super) canary: Vec<(ProbeKind, Effect)>,
    /// Whether each sensor starts, in the order of [`Sensor::ALL`].
    pub(super) sensors: Vec<(Sensor, Result<(), String>)>,
    /// The program for which the verifier processed the most instructions, and their number; `None`
    /// before kernel 5.16.
    pub(super) most_verified: Option<(String, u32)>,
    /// How the owners of processes are looked up.
    pub(super) owner_lookup: OwnerLookup,
}

impl Facts {
    /// Queries the host. Call it before any thread is started, because it may mount tracefs for
    /// this process alone.
    ///
    /// # Errors
    ///
    /// `IncompatibleFlags`, if the requested mode is not possible.
    pub(super) fn gather(requested: ModeRequest) -> Result<Self, IncompatibleFlags> {
        let memory_lock = MemoryLock::raise();
        let mode = requested.resolve()?;
        let permitted = host::check_permission();
        let tracefs = tracefs_mount::ensure()
            .map(PathBuf::from)
            .map_err(|error| crate::chain(&error));
        let trial = permitted.is_ok().then(|| Trial::run(mode));
        Ok(Self {
            release: read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
            machine: std::env::consts::ARCH,
            rights: Rights::own().ok(),
            user_namespace: Namespace::User.membership(),
            pid_namespace: Namespace::Pid.membership(),
            lockdown: Lockdown::detect(),
            memory_lock,
            paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
            features: Features::probe(),
            requested,
            mode,
            uprobe_pmu: fs::exists("/sys/bus/event_source/devices/uprobe/type").unwrap_or(false),
            btf: fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false),
            namespaces: bpf::netns::layout(mode.ring)
                .map(|_| ())
                .map_err(|error| crate::chain(&error)),
            statistics: number("/proc/sys/kernel/bpf_stats_enabled").map(|value| value == 1),
            tracefs,
            tracepoints: bpf::tracepoints()
                .map(|(sensor, tracepoint)| {
                    let layout = tracepoint.layout().map(|_| ());
                    TracepointFact {
                        sensor,
                        event: tracepoint.event,
                        vital: tracepoint.vital,
                        usable: layout.map_err(|error| crate::chain(&error)),
                    }
                })
                .collect(),
            cgroup: Cgroup::detect(),
            map_files: map_files().map_err(|error| error.to_string()),
            trial,
        })
    }
}

impl Trial {
    fn run(mode: BpfMode) -> Self {
        // Failures become facts; log messages would repeat them.
        let _quiet = tracing::subscriber::set_default(NoSubscriber::new());
        let canary = Canary::run(&ProbeKind::ALL).effects;
        let status = bpf::dry_run(mode);
        let mut cgroups = Cgroups::open();
        let is_reported = status.probes.contains_key(&("cg_mkdir", Verdict::Attached));
        cgroups.read(is_reported, Instant::now());
        let most_verified = status.verified.iter().max_by_key(|(_, count)| **count);
        Self {
            canary,
            sensors: start_results(&status),
            most_verified: most_verified.map(|(name, count)| (name.clone(), *count)),
            owner_lookup: cgroups.lookup(mode.owners.task_cgroup != 0),
        }
    }
}

fn start_results(status: &Status) -> Vec<(Sensor, Result<(), String>)> {
    let outcome = |sensor| {
        let health = status.sensor(sensor);
        match &health.reason {
            _ if health.attached => Ok(()),
            Some(reason) => Err(reason.clone()),
            None => Err("it did not start".to_owned()),
        }
    };
    Sensor::ALL.map(|sensor| (sensor, outcome(sensor))).to_vec()
}

fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

fn number(path: &str) -> Option<i32> {
    read(path)?.parse().ok()
}

/// Opens the first file that this process maps by its `map_files` entry, as `discover` opens
/// libraries.
fn map_files() -> io::Result<()> {
    let mut entries = fs::read_dir("/proc/self/map_files")?;
    let entry = entries.next().ok_or(io::ErrorKind::NotFound)??;
    File::open(entry.path()).map(|_| ())
}
