//! The `wire` sensor: the first flights of every TLS connection on the host, from the packets of
//! its socket.

use std::{fs::File, panic::resume_unwind, path::Path, thread};

use aya::{
    Ebpf,
    programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType},
    util::KernelVersion,
};

use super::{
    SensorError, cgroup,
    feed::{Feed, Maps},
    means::Means,
    object::{Object, loader, object},
    program, refused,
    told::Told,
};
use crate::status::{Status, Verdict};

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
pub struct WireSensor {
    /// Events and lost-event counters.
    pub feed: Feed,
    /// Owns programs and links; dropping it detaches.
    ebpf: Ebpf,
}

impl WireSensor {
    /// Loads and attaches both programs; [`note`] records the result.
    pub(super) fn start(means: Means, cgroup: Option<&Path>) -> Result<Self, SensorError> {
        let cgroup = cgroup.map_or_else(cgroup::root, File::open);
        let cgroup = cgroup.map_err(SensorError::Cgroup)?;
        let (mut ebpf, means) = match loaded(means) {
            // The object for ring buffers passes sockets to `bpf_sk_storage_get` as 5.10 allows;
            // 5.8, which has ring buffers, does not.
            Err(refusal) if means.ring => match loaded(means.of_older_kernels()) {
                Ok(older) => {
                    let reason = crate::chain(&refusal);
                    tracing::info!(reason, "wire runs the programs for older kernels");
                    older
                }
                Err(_) => return Err(refusal),
            },
            loaded => loaded?,
        };
        let feed = Feed::open(&mut ebpf, means, &MAPS)?;
        // Links coexist with other programs anyway, and the kernel refuses AllowMultiple for them.
        let links = KernelVersion::current().is_ok_and(|now| now >= LINKS);
        let mode = if links {
            CgroupAttachMode::Single
        } else {
            CgroupAttachMode::AllowMultiple
        };
        for (probe, direction) in PROBES {
            program::<&mut CgroupSkb>(&mut ebpf, probe)?
                .attach(&cgroup, direction, mode)
                .map_err(|source| refused(probe, source))?;
        }
        Ok(Self { feed, ebpf })
    }

    /// The loaded object.
    pub(super) const fn object(&self) -> &Ebpf {
        &self.ebpf
    }
}

/// Loads the programs; returns them with the mode that they use.
fn loaded(means: Means) -> Result<(Ebpf, Means), SensorError> {
    let mut loader = loader();
    Told::prepare(&mut loader, means);
    let mut ebpf = loader
        .load(OBJECT.fit(means))
        .map_err(|source| SensorError::Load(Box::new(source)))?;
    load(&mut ebpf)?;
    Ok((ebpf, means))
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
            loading.push((
                *probe,
                scope.spawn(|| <&mut CgroupSkb>::try_from(program)?.load()),
            ));
        }
        for (probe, _) in PROBES {
            let at = loading.iter().position(|(name, _)| *name == probe);
            let (_, thread) = loading.swap_remove(at.ok_or(SensorError::Missing(probe))?);
            let loaded = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            loaded.map_err(|source| refused(probe, source))?;
        }
        Ok(())
    })
}

/// Records the state of the programs.
pub(super) fn note(started: &Result<WireSensor, SensorError>, status: &mut Status) {
    let verdict = match started {
        Ok(_) => Verdict::Attached,
        Err(SensorError::Cgroup(_)) => Verdict::Unsupported,
        Err(_) => Verdict::Broken,
    };
    for (probe, _) in PROBES {
        status.probe(probe, verdict);
    }
}
