//! What is asked of the host. Changes nothing that outlives the process; attaches the sensors for a moment, and one probe each
//! to processes of its own.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
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
        lockdown::Lockdown,
        memory_lock::MemoryLock,
        tracefs,
    },
    status::{BpfMode, Sensor, Status},
};

/// See the module.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Kernel release, as `uname -r` prints it.
    pub release: String,
    /// Machine that this executable was built for.
    pub machine: &'static str,
    /// What this process may do; `None` without `/proc`.
    pub rights: Option<Rights>,
    /// Whether that counts.
    pub user_namespace: NamespaceMembership,
    /// Whether its process IDs are the host's.
    pub pid_namespace: NamespaceMembership,
    /// The kernel's lockdown.
    pub lockdown: Lockdown,
    /// The memory lock limit, lifted as far as allowed.
    pub memory_lock: MemoryLock,
    /// `kernel.perf_event_paranoid`.
    pub paranoid: Option<i32>,
    /// What BPF can do.
    pub features: Features,
    /// What the flags ask for.
    pub wanted: ModeRequest,
    /// What is used.
    pub means: BpfMode,
    /// Whether the kernel has a uprobe PMU, and so probes that need no entry in tracefs.
    pub uprobe_pmu: bool,
    /// Whether the kernel describes its types.
    pub btf: bool,
    /// `kernel.bpf_stats_enabled`; `None` where the kernel has no such accounting.
    pub statistics: Option<bool>,
    /// Where tracefs is, or why there is none.
    pub tracefs: Result<PathBuf, String>,
    /// Per tracepoint: whose it is, its name, whether that sensor needs it, and what is wrong with it.
    pub tracepoints: Vec<(Sensor, &'static str, bool, Result<(), String>)>,
    /// The cgroup v2 hierarchy.
    pub cgroup: Cgroup,
    /// Whether files that processes map can be opened through `/proc`, whatever became of their paths.
    pub map_files: Result<(), String>,
    /// What came of trying; `None` where this process may not observe anyway.
    pub trial: Option<Trial>,
}

/// Trying is the best probe.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What probes do to a process under seccomp, per `ProbeKind::ALL`.
    pub canary: Vec<(ProbeKind, Effect)>,
    /// Whether each sensor starts here, per [`Sensor::ALL`].
    pub sensors: Vec<(Sensor, Result<(), String>)>,
    /// The program of which the verifier walked the most instructions, and how many; `None` where the kernel does not say.
    pub most_verified: Option<(String, u32)>,
}

impl Facts {
    /// Asks. Call before any thread is started: it may mount tracefs for this process alone.
    ///
    /// # Errors
    ///
    /// `IncompatibleFlags`.
    pub fn gather(wanted: ModeRequest) -> Result<Self, IncompatibleFlags> {
        let memory_lock = MemoryLock::raise();
        let means = wanted.resolve()?;
        let permitted = host::check_permission();
        let tracefs = tracefs::ensure()
            .map(PathBuf::from)
            .map_err(|error| crate::chain(&error));
        let trial = permitted.is_ok().then(|| Trial::run(means));
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
            wanted,
            means,
            uprobe_pmu: fs::exists("/sys/bus/event_source/devices/uprobe/type").unwrap_or(false),
            btf: fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false),
            statistics: number("/proc/sys/kernel/bpf_stats_enabled").map(|value| value == 1),
            tracefs,
            tracepoints: bpf::tracepoints()
                .map(|(sensor, tracepoint)| {
                    let layout = tracepoint.layout().map(|_| ());
                    let found = layout.map_err(|error| crate::chain(&error));
                    (sensor, tracepoint.event, tracepoint.vital, found)
                })
                .collect(),
            cgroup: Cgroup::detect(),
            map_files: map_files().map_err(|error| error.to_string()),
            trial,
        })
    }
}

impl Trial {
    fn run(means: BpfMode) -> Self {
        // What fails is told as a fact; a log beside it would tell it twice.
        let _quiet = tracing::subscriber::set_default(NoSubscriber::new());
        let canary = Canary::run(&ProbeKind::ALL).effects;
        let status = bpf::dry_run(means);
        let most_verified = status.verified.iter().max_by_key(|(_, count)| **count);
        Self {
            canary,
            sensors: outcomes(&status),
            most_verified: most_verified.map(|(name, count)| (name.clone(), *count)),
        }
    }
}

fn outcomes(status: &Status) -> Vec<(Sensor, Result<(), String>)> {
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

/// Opens the first file that this process maps, by its `map_files` entry: what `discover` does with libraries.
fn map_files() -> io::Result<()> {
    let mut entries = fs::read_dir("/proc/self/map_files")?;
    let entry = entries.next().ok_or(io::ErrorKind::NotFound)??;
    File::open(entry.path()).map(|_| ())
}
