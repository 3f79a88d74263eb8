//! Whether the sensors can distinguish network namespaces. All of them can, or none: the keys of
//! connections would differ from sensor to sensor otherwise.

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
    util::KernelVersion,
};
use reprise_ebpf::netns::{NamespaceLayout, SOCKET_NAMESPACE};
use thiserror::Error;

use super::btf::{Field, NoOffsets, Offsets, field};

/// The first kernel that loads the packet programs for ring buffers.
const PACKETS: KernelVersion = KernelVersion::new(5, 10, 0);

/// Why network namespaces are not distinguished.
#[derive(Debug, Error)]
pub(crate) enum NoNamespaces {
    /// The programs for perf event arrays do not read them.
    #[error("the programs for kernels before 5.10 do not read them")]
    OlderPrograms,
    /// The offsets are not known.
    #[error(transparent)]
    Offsets(#[from] NoOffsets),
    /// Packet programs may not read kernel memory.
    #[error("the kernel permits no packet program to read its memory (lockdown)")]
    Refused,
}

/// Finds the fields that identify the network namespace of a socket; `ring` is whether the programs
/// for ring buffers are used.
///
/// # Errors
///
/// [`NoNamespaces`].
pub(crate) fn layout(ring: bool) -> Result<NamespaceLayout, NoNamespaces> {
    let is_older = KernelVersion::current().is_ok_and(|kernel| kernel < PACKETS);
    if !ring || is_older {
        return Err(NoNamespaces::OlderPrograms);
    }
    let helper = BpfHelper::BPF_FUNC_probe_read_kernel;
    // A kernel that refuses to answer also refuses the load later.
    if !is_helper_supported(ProgramType::CgroupSkb, helper).unwrap_or(false) {
        return Err(NoNamespaces::Refused);
    }
    Ok(Offsets::find(from_btf)?)
}

fn from_btf(offsets: &Offsets) -> Result<NamespaceLayout, Field> {
    if offsets.at(field::SOCKET_NAMESPACE)? != SOCKET_NAMESPACE {
        return Err(field::SOCKET_NAMESPACE);
    }
    Ok(NamespaceLayout {
        inode: offsets.at(field::NAMESPACE)? + offsets.at(field::NAMESPACE_INODE)?,
        user_namespace: offsets.at(field::USER_NAMESPACE)?,
        level: offsets.at(field::USER_NAMESPACE_LEVEL)?,
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
        assert!(layout.inode.is_multiple_of(4) && layout.user_namespace.is_multiple_of(8));
        assert_eq!(from_btf(&Offsets::read(&[])), Err(field::SOCKET_NAMESPACE));
    }
}
