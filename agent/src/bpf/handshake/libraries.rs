//! Attaches and detaches libraries, and assigns each a slot in the map of layouts.

use std::{
    collections::{BTreeMap, VecDeque},
    mem, ptr,
};

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use reprise_core::plan::Plan;
use reprise_ebpf::handshake::MAX_LIBRARIES;

use super::{
    layout::{LayoutBytes, LayoutSlot, layout_bytes},
    points::{AttachPoint, LibraryFiles, attach_points},
};
use crate::{
    bpf::{
        error::SensorError,
        uprobe_multi::ProgramStats,
        uprobes::{Link, Uprobes, detach_all, detach_in_background},
    },
    status::{LibraryId, Status, Verdict},
};

/// Slot and links of one attached library.
struct AttachedLibrary {
    slot: LayoutSlot,
    links: Vec<Link>,
}

/// The attached libraries; dropping it detaches them.
pub(super) struct AttachedLibraries {
    layouts: Array<MapData, LayoutBytes>,
    by_id: BTreeMap<LibraryId, AttachedLibrary>,
    /// Free slots, the one that has been free for longest first: handshakes of the previous library
    /// of a slot should end before the slot is reused.
    free: VecDeque<LayoutSlot>,
    uprobes: Uprobes,
}

impl AttachedLibraries {
    pub(super) fn new(layouts: Array<MapData, LayoutBytes>, uprobes: Uprobes) -> Self {
        Self {
            layouts,
            by_id: BTreeMap::new(),
            free: (0..MAX_LIBRARIES).map(LayoutSlot).collect(),
            uprobes,
        }
    }

    /// Attaches all points of a plan.
    ///
    /// # Errors
    ///
    /// [`SensorError`]; no point of the library is attached then.
    pub(super) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        id: LibraryId,
        plan: &Plan,
        files: &LibraryFiles<'_>,
        status: &mut Status,
    ) -> Result<(), SensorError> {
        let slot = *self
            .free
            .front()
            .ok_or(SensorError::TooManyLibraries(MAX_LIBRARIES))?;
        self.layouts
            .set(slot.0, layout_bytes(plan), 0)
            .map_err(|source| SensorError::Map {
                map: "HS_LAYOUTS",
                source: Box::new(source),
            })?;
        let mut links: Vec<Link> = Vec::new();
        let mut attacher = self.uprobes.attacher(ebpf);
        let points = attach_points(slot, plan, files);
        let same_link = |a: &AttachPoint<'_>, b: &AttachPoint<'_>| {
            a.probe == b.probe && ptr::eq(a.file, b.file)
        };
        for group in points.chunk_by(same_link) {
            let Some(AttachPoint { probe, file, .. }) = group.first() else {
                continue;
            };
            let offsets: Vec<_> = group
                .iter()
                .map(|point| (point.offset, point.cookie))
                .collect();
            match attacher.attach(probe, file, &offsets) {
                Ok(link) => {
                    offsets
                        .iter()
                        .for_each(|_| status.probe(probe, Verdict::Attached));
                    links.push(link);
                }
                Err(error) => {
                    status.probe(probe, Verdict::Broken);
                    detach_links(links, status);
                    return Err(error);
                }
            }
        }
        self.free.pop_front();
        self.by_id.insert(id, AttachedLibrary { slot, links });
        Ok(())
    }

    /// Detaches a library; does nothing if it is not attached.
    pub(super) fn detach(&mut self, id: LibraryId, status: &mut Status) {
        if let Some(AttachedLibrary { slot, links }) = self.by_id.remove(&id) {
            detach_links(links, status);
            self.free.push_back(slot);
        }
    }

    /// The kernel's statistics of the uprobe programs that aya does not hold.
    pub(super) fn program_stats(&self) -> impl Iterator<Item = (&'static str, ProgramStats)> {
        self.uprobes.program_stats()
    }
}

impl Drop for AttachedLibraries {
    fn drop(&mut self) {
        let libraries = mem::take(&mut self.by_id);
        detach_all(
            libraries
                .into_values()
                .flat_map(|library| library.links)
                .collect(),
        );
    }
}

/// Detaches links in the reverse order of their attachment.
fn detach_links(mut links: Vec<Link>, status: &mut Status) {
    for link in &links {
        (0..link.points).for_each(|_| status.detached(link.probe));
    }
    links.reverse();
    detach_in_background(links);
}
