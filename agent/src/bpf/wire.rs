//! The `wire` sensor: the first flights of every TLS connection on the host, from the packets of
//! its socket.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    panic::resume_unwind,
    thread,
};

use aya::{
    Ebpf,
    programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType},
    util::KernelVersion,
};

use super::{
    bpf_log::BpfLog,
    error::SensorError,
    load_retry::retry_interrupted,
    object::{Object, loader, object, set_namespaces},
    program::{program, program_error},
    sensor_events::{Maps, SensorEvents},
};
use crate::{
    errors::chain,
    host::{ObservedCgroup, cgroup},
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

/// Both directions. One direction alone has little use, so both fail together.
const PROBES: [(&str, CgroupSkbAttachType); 2] = [
    ("wire_in", CgroupSkbAttachType::Ingress),
    ("wire_out", CgroupSkbAttachType::Egress),
];

/// The attached `wire` sensor.
pub(crate) struct WireSensor {
    /// Events and lost-event counters.
    pub(crate) events: SensorEvents,
    /// Owns programs and links; dropping it detaches.
    ebpf: Ebpf,
    /// Its events have the network namespace of the socket.
    pub(super) has_namespaces: bool,
}

impl WireSensor {
    /// Loads and attaches both programs; [`record_verdicts`] records the result.
    pub(super) fn start(
        mode: BpfMode,
        cgroup: Option<&ObservedCgroup>,
    ) -> Result<Self, SensorError> {
        let cgroup = match cgroup {
            Some(cgroup) => cgroup.as_fd().try_clone_to_owned(),
            None => cgroup::open_root().map(OwnedFd::from),
        };
        let cgroup = cgroup.map_err(SensorError::Cgroup)?;
        let (mut ebpf, mode) = match loaded(mode) {
            // The object for ring buffers passes sockets to `bpf_sk_storage_get` as 5.10 allows;
            // 5.8, which has ring buffers, does not.
            Err(error) if mode.ring => match loaded(mode.for_older_kernels()) {
                Ok(older) => {
                    let reason = chain(&error);
                    tracing::info!(
                        reason,
                        "programs for ring buffers rejected, loading those for older kernels"
                    );
                    older
                }
                Err(_) => return Err(error),
            },
            loaded => loaded?,
        };
        let events = SensorEvents::open(&mut ebpf, mode, &MAPS)?;
        // Links coexist with other programs anyway, and the kernel refuses `AllowMultiple` for
        // them.
        let links = KernelVersion::current().is_ok_and(|now| now >= LINKS);
        let attach_mode = if links {
            CgroupAttachMode::Single
        } else {
            CgroupAttachMode::AllowMultiple
        };
        for (probe, direction) in PROBES {
            program::<&mut CgroupSkb>(&mut ebpf, probe)?
                .attach(&cgroup, direction, attach_mode)
                .map_err(|source| program_error(probe, source))?;
        }
        Ok(Self {
            events,
            ebpf,
            has_namespaces: mode.namespaces.is_some(),
        })
    }

    /// The loaded object.
    pub(super) const fn object(&self) -> &Ebpf {
        &self.ebpf
    }
}

/// Loads the programs; returns them with the mode that they use.
fn loaded(mode: BpfMode) -> Result<(Ebpf, BpfMode), SensorError> {
    let mut loader = loader();
    BpfLog::configure(&mut loader, mode);
    set_namespaces(&mut loader, &mode);
    loader.override_global("HAS_SK_CGROUP", &mode.owners.socket_cgroup, mode.ring);
    let mut ebpf = loader
        .load(OBJECT.for_mode(mode))
        .map_err(|source| SensorError::Load(Box::new(source)))?;
    load(&mut ebpf)?;
    Ok((ebpf, mode))
}

/// Loads the programs in parallel: the verifier processes some hundred thousand instructions in
/// each, which takes half a second.
fn load(ebpf: &mut Ebpf) -> Result<(), SensorError> {
    thread::scope(|scope| {
        let mut loading = Vec::new();
        for (name, program) in ebpf.programs_mut() {
            let Some((probe, _)) = PROBES.iter().find(|(probe, _)| *probe == name) else {
                continue;
            };
            let load = || {
                let program = <&mut CgroupSkb>::try_from(program)?;
                retry_interrupted(|| program.load())
            };
            loading.push((*probe, scope.spawn(load)));
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

/// Records the state of the programs.
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
