//! The `hello` sensor: the first flight of every TLS connection on the host, from the packets of its socket.

use std::{fs::File, panic::resume_unwind, path::Path, thread};

use aya::{
    Ebpf,
    programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType},
    util::KernelVersion,
};

use super::{
    bpf_log::BpfLog,
    error::SensorError,
    object::{Object, loader, object},
    program::{program, program_error},
    sensor_events::{Maps, SensorEvents},
};
use crate::{
    errors::chain,
    host::cgroup,
    status::{BpfMode, Status, Verdict},
};

static OBJECT: Object = object!("wire");
const MAPS: Maps = Maps {
    events: "WIRE_EVENTS",
    lost: "WIRE_LOST",
    budget: 32 << 20,
};

/// The first kernel with links for cgroup programs.
const LINKS: KernelVersion = KernelVersion::new(5, 7, 0);

/// Both directions: half a conversation tells little, so one that fails takes the other with it.
const PROBES: [(&str, CgroupSkbAttachType); 2] = [
    ("wire_in", CgroupSkbAttachType::Ingress),
    ("wire_out", CgroupSkbAttachType::Egress),
];

/// See the module.
pub(crate) struct WireSensor {
    /// What it hands on.
    pub(crate) events: SensorEvents,
    /// Holds programs and links; dropping it detaches.
    ebpf: Ebpf,
}

impl WireSensor {
    /// Loads and attaches both programs; [`record_verdicts`] tells of it.
    pub(super) fn start(mode: BpfMode, cgroup: Option<&Path>) -> Result<Self, SensorError> {
        let cgroup = cgroup.map_or_else(cgroup::open_root, File::open);
        let cgroup = cgroup.map_err(SensorError::Cgroup)?;
        let (mut ebpf, mode) = match loaded(mode) {
            // Those for ring buffers ask for a socket's storage as 5.10 allows and 5.8, which has ring buffers, does not.
            Err(refusal) if mode.ring => match loaded(mode.for_older_kernels()) {
                Ok(older) => {
                    let reason = chain(&refusal);
                    tracing::info!(reason, "wire runs the programs for older kernels");
                    older
                }
                Err(_) => return Err(refusal),
            },
            loaded => loaded?,
        };
        let events = SensorEvents::open(&mut ebpf, mode, &MAPS)?;
        // Where the kernel has links they are added to what others attached anyway, and that mode is refused.
        let links = KernelVersion::current().is_ok_and(|now| now >= LINKS);
        let mode = if links {
            CgroupAttachMode::Single
        } else {
            CgroupAttachMode::AllowMultiple
        };
        for (probe, direction) in PROBES {
            program::<&mut CgroupSkb>(&mut ebpf, probe)?
                .attach(&cgroup, direction, mode)
                .map_err(|source| program_error(probe, source))?;
        }
        Ok(Self { events, ebpf })
    }

    /// The loaded object.
    pub(super) const fn object(&self) -> &Ebpf {
        &self.ebpf
    }
}

/// The programs in the kernel, and the means that they use.
fn loaded(mode: BpfMode) -> Result<(Ebpf, BpfMode), SensorError> {
    let mut loader = loader();
    BpfLog::configure(&mut loader, mode);
    let mut ebpf = loader
        .load(OBJECT.for_mode(mode))
        .map_err(|source| SensorError::Load(Box::new(source)))?;
    load(&mut ebpf)?;
    Ok((ebpf, mode))
}

/// Loads the programs side by side: the verifier walks some hundred thousand instructions in each, which takes it half a second.
fn load(ebpf: &mut Ebpf) -> Result<(), SensorError> {
    thread::scope(|scope| {
        let mut loading = Vec::new();
        for (name, program) in ebpf.programs_mut() {
            let Some((probe, _)) = PROBES.iter().find(|(probe, _)| *probe == name) else {
                continue;
            };
            loading.push((
                *probe,
                scope.spawn(|| <&mut CgroupSkb>::try_from(program)?.load()),
            ));
        }
        for (probe, _) in PROBES {
            let at = loading.iter().position(|(name, _)| *name == probe);
            let (_, thread) = loading.swap_remove(at.ok_or(SensorError::Missing(probe))?);
            let loaded = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            loaded.map_err(|source| program_error(probe, source))?;
        }
        Ok(())
    })
}

/// Tells what became of the programs.
pub(super) fn record_verdicts(started: &Result<WireSensor, SensorError>, status: &mut Status) {
    let verdict = match started {
        Ok(_) => Verdict::Attached,
        Err(SensorError::Cgroup(_)) => Verdict::Unsupported,
        Err(_) => Verdict::Broken,
    };
    for (probe, _) in PROBES {
        status.probe(probe, verdict);
    }
}
