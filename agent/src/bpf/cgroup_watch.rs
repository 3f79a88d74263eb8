//! Reports of created and removed cgroups. Optional: without them the agent reads the hierarchy
//! again when it meets an unknown cgroup, and misses those that are gone by then.

use aya::Ebpf;
use reprise_ebpf::cgroup::{CREATED, CgroupEvent, CgroupLayout, MAX_PATH, REMOVED};
use thiserror::Error;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{
    bpf_log::BpfLog,
    btf::{Field, NoOffsets, Offsets, field},
    error::SensorError,
    object::{Object, loader, object},
    program::attach_raw_tracepoint,
    sensor_events::{Maps, SensorEvents},
};
use crate::{
    errors::chain,
    status::{BpfMode, Status, Verdict},
};

static OBJECT: Object = object!("cgroup");
const MAPS: Maps = Maps {
    events: "CG_EVENTS",
    lost: "CG_LOST",
    budget: 1 << 20,
};
/// Programs, and the tracepoint of each.
const PROBES: [(&str, &str); 2] = [
    ("cg_mkdir", "cgroup/cgroup_mkdir"),
    ("cg_rmdir", "cgroup/cgroup_rmdir"),
];

/// Why cgroups are not reported.
#[derive(Debug, Error)]
pub(crate) enum NoReports {
    /// The programs cannot find IDs and hierarchies.
    #[error(transparent)]
    Offsets(#[from] NoOffsets),
    /// The programs do not start.
    #[error(transparent)]
    Programs(#[from] SensorError),
}

/// A change of the hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupChange<'a> {
    /// A cgroup was created; without a path that is known whole.
    Created { id: u64, path: Option<&'a [u8]> },
    /// A cgroup was removed.
    Removed { id: u64 },
}

/// The attached programs.
pub(crate) struct CgroupWatch {
    events: SensorEvents,
    /// Owns programs and links; dropping it detaches.
    _ebpf: Ebpf,
}

impl CgroupWatch {
    /// Loads and attaches the programs, where events have cgroup IDs and the kernel permits it.
    pub(super) fn start_optional(mode: BpfMode, status: &mut Status) -> Option<Self> {
        if mode.owners.task_cgroup == 0 {
            return None;
        }
        let started = Self::start(mode, status);
        started
            .inspect_err(|error| {
                let reason = chain(error);
                tracing::info!(
                    reason,
                    "created cgroups not reported, hierarchy read instead"
                );
                for (probe, _) in PROBES {
                    status.probe(probe, Verdict::Unsupported);
                }
            })
            .ok()
    }

    fn start(mode: BpfMode, status: &mut Status) -> Result<Self, NoReports> {
        let layout = Offsets::find(from_btf)?;
        Ok(load(mode, &layout, status)?)
    }

    /// Passes all changes up to `until_ns` to `consume`.
    pub(crate) fn drain(&mut self, until_ns: u64, mut consume: impl FnMut(CgroupChange<'_>)) {
        self.events.events.drain(until_ns, |bytes| {
            if let Ok((event, _)) = CgroupEvent::ref_from_prefix(bytes)
                && let Some(change) = change(event)
            {
                consume(change);
            }
        });
    }

    /// Number of changes that were not reported since the last call.
    pub(crate) fn newly_lost(&mut self) -> u64 {
        self.events.newly_lost()
    }
}

fn change(event: &CgroupEvent) -> Option<CgroupChange<'_>> {
    let id = event.id;
    match event.header.kind {
        CREATED => {
            let length = event.length as usize;
            let is_whole = length > 0 && length < MAX_PATH - 1;
            let path = is_whole.then(|| &event.path[..length]);
            Some(CgroupChange::Created { id, path })
        }
        REMOVED => Some(CgroupChange::Removed { id }),
        _ => None,
    }
}

fn load(
    mode: BpfMode,
    layout: &CgroupLayout,
    status: &mut Status,
) -> Result<CgroupWatch, SensorError> {
    let mut loader = loader();
    BpfLog::configure(&mut loader, mode);
    let mut ebpf = loader
        .override_global("CGROUP", layout.as_bytes(), true)
        .load(OBJECT.for_mode(mode))
        .map_err(|source| SensorError::Load(Box::new(source)))?;
    let events = SensorEvents::open(&mut ebpf, mode, &MAPS)?;
    for (probe, event) in PROBES {
        attach_raw_tracepoint(&mut ebpf, probe, event, status)?;
    }
    Ok(CgroupWatch {
        events,
        _ebpf: ebpf,
    })
}

fn from_btf(offsets: &Offsets) -> Result<CgroupLayout, Field> {
    Ok(CgroupLayout {
        root: offsets.at(field::CGROUP_ROOT)?,
        hierarchy: offsets.at(field::HIERARCHY)?,
        node: offsets.at(field::CGROUP_NODE)?,
        id: offsets.at(field::NODE_ID)?,
    })
}

#[cfg(test)]
mod tests {
    use reprise_ebpf::Header;
    use zerocopy::FromZeros as _;

    use super::*;

    #[test]
    fn a_path_that_may_be_cut_is_not_known() {
        let mut event = CgroupEvent::new_zeroed();
        event.header = Header {
            kind: CREATED,
            size: 0,
            time_ns: 1,
        };
        event.id = 7;
        event.path[..2].copy_from_slice(b"/a");
        for (length, path) in [
            (2, Some(&b"/a"[..])),
            (0, None),
            (MAX_PATH as u32 - 1, None),
            (u32::MAX, None),
        ] {
            event.length = length;
            assert_eq!(change(&event), Some(CgroupChange::Created { id: 7, path }));
        }
        event.header.kind = REMOVED;
        assert_eq!(change(&event), Some(CgroupChange::Removed { id: 7 }));
        event.header.kind = 1;
        assert_eq!(change(&event), None);
    }
}
