//! The record of an owner.

use reprise_ebpf::Header;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::model::Owner;

/// `Header::kind` of [`WorkloadEvent`]; the kernel never sends it.
pub const WORKLOAD: u32 = 252;
/// Bytes for all names: a namespace (63), a pod (253), a container (63), and a workload of up to
/// 289, which a unit of a user's manager can need.
const TEXT: usize = 668;

/// A process belongs to this owner, from the time of this record on; without a process, every
/// process of the control group does.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WorkloadEvent {
    /// Kind, and the time at which the owner was resolved.
    pub header: Header,
    /// ID of the control group in the hierarchy of version 2; 0 where it is not known.
    pub cgroup: u64,
    /// Process; 0 where the owner does not depend on the process: a pod, a unit, or a container
    /// without the name of its process.
    pub tgid: u32,
    /// Lengths of the names, bytes: namespace, pod, container, workload.
    lengths: [u16; 4],
    /// The names, UTF-8, one after the other, then zeroes.
    text: [u8; TEXT],
}

impl WorkloadEvent {
    /// A record that assigns process `tgid` of control group `cgroup` to an owner.
    #[must_use]
    pub fn new(cgroup: u64, tgid: u32, owner: &Owner, time_ns: u64) -> Self {
        let mut event = Self {
            header: Header {
                kind: WORKLOAD,
                size: size_of::<Self>() as u32,
                time_ns,
            },
            cgroup,
            tgid,
            lengths: [0; 4],
            text: [0; TEXT],
        };
        let names = [
            &owner.namespace,
            &owner.pod,
            &owner.container,
            &owner.workload,
        ];
        let mut free = &mut event.text[..];
        for (name, length) in names.into_iter().zip(&mut event.lengths) {
            // No name of Kubernetes or systemd is longer than its share.
            let end = name.floor_char_boundary(free.len());
            let (used, rest) = std::mem::take(&mut free).split_at_mut(end);
            used.copy_from_slice(&name.as_bytes()[..end]);
            *length = end as u16;
            free = rest;
        }
        event
    }

    /// The owner. A name that is not valid UTF-8 is empty.
    #[must_use]
    pub fn owner(&self) -> Owner {
        let mut begin = 0_usize;
        let [namespace, pod, container, workload] = self.lengths.map(|length| {
            let end = begin.saturating_add(usize::from(length));
            let name = self.text.get(begin..end).unwrap_or_default();
            begin = end;
            std::str::from_utf8(name).unwrap_or_default().to_owned()
        });
        Owner {
            namespace,
            pod,
            container,
            workload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(lengths: [usize; 4]) -> Owner {
        let [namespace, pod, container, workload] = lengths.map(|length| "n".repeat(length));
        Owner {
            namespace,
            pod,
            container,
            workload,
        }
    }

    #[test]
    fn the_longest_names_of_kubernetes_and_of_systemd_are_whole() {
        for lengths in [[63, 253, 63, 253], [0, 0, 63, 279], [0; 4]] {
            let owner = owner(lengths);
            let event = WorkloadEvent::new(5, 7, &owner, 1);
            let decoded = WorkloadEvent::read_from_bytes(event.as_bytes()).unwrap();
            assert_eq!(decoded.owner(), owner);
            assert_eq!((decoded.cgroup, decoded.tgid), (5, 7));
        }
    }

    #[test]
    fn longer_names_end_between_two_characters() {
        let owner = Owner::from_workload(&format!("x{}", "ä".repeat(400)));
        let event = WorkloadEvent::new(0, 7, &owner, 1);
        assert_eq!(event.owner().workload, format!("x{}", "ä".repeat(333)));
    }

    #[test]
    fn names_of_a_broken_record_are_empty() {
        let mut event = WorkloadEvent::new(0, 7, &owner([3, 3, 3, 3]), 1);
        event.lengths = [u16::MAX; 4];
        assert_eq!(event.owner(), Owner::default());
        let mut event = WorkloadEvent::new(0, 7, &owner([3, 3, 3, 3]), 1);
        event.text[1] = 0xff;
        assert_eq!(event.owner().namespace, "");
        assert_eq!(event.owner().pod, "nnn");
    }
}
