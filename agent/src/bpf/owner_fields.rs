//! Where the programs read whose event it is: the cgroup and the name of the process, the cgroup of
//! a socket. Discovered on the running kernel.

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use reprise_ebpf::cgroup::ProcessLayout;

use super::btf::{Field, Offsets, field};
use crate::{errors::chain, status::OwnerFields};

/// Finds the fields; `ring` is whether the programs for ring buffers are used.
pub(super) fn find(ring: bool) -> OwnerFields {
    let process = Offsets::find(from_btf).unwrap_or_else(|error| {
        let reason = chain(&error);
        tracing::info!(reason, "names of threads stand for those of processes");
        ProcessLayout::UNKNOWN
    });
    OwnerFields {
        task_cgroup: has(
            ProgramType::KProbe,
            BpfHelper::BPF_FUNC_get_current_cgroup_id,
        ),
        // The programs for perf event arrays do not call it.
        socket_cgroup: match ring {
            true => has(ProgramType::CgroupSkb, BpfHelper::BPF_FUNC_skb_cgroup_id),
            false => 0,
        },
        process,
    }
}

/// 1 where programs of this type can call the helper. A kernel that refuses to answer also refuses
/// the load later.
fn has(kind: ProgramType, helper: BpfHelper) -> u32 {
    u32::from(is_helper_supported(kind, helper).unwrap_or(false))
}

fn from_btf(offsets: &Offsets) -> Result<ProcessLayout, Field> {
    Ok(ProcessLayout {
        leader: offsets.at(field::TASK_LEADER)?,
        comm: offsets.at(field::TASK_COMM)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "says that the test did not run")]
    fn the_fields_are_found_in_the_btf_of_this_kernel() {
        let Ok(offsets) = Offsets::of_kernel() else {
            eprintln!("skipped: this kernel has no readable BTF");
            return;
        };
        let layout = from_btf(offsets).unwrap();
        assert!(layout.leader.is_multiple_of(8) && layout.leader != layout.comm);
        assert_eq!(from_btf(&Offsets::read(&[])), Err(field::TASK_LEADER));
    }
}
