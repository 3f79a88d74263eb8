//! The embedded BPF objects: two builds of each sensor, for kernels with and without ring buffers.

#[cfg(test)]
mod min_kernel;
#[cfg(test)]
mod stack;

use aya::{EbpfLoader, VerifierLogLevel};
use zerocopy::IntoBytes as _;

use crate::status::BpfMode;

/// The two builds of one sensor's programs.
pub(super) struct Object {
    /// For kernels with ring buffers.
    pub(super) ring: &'static [u8],
    /// For kernels without ring buffers: needs only what kernel 5.4 has.
    pub(super) perf: &'static [u8],
}

impl Object {
    /// The build for this mode.
    pub(super) const fn for_mode(&self, mode: BpfMode) -> &'static [u8] {
        if mode.ring { self.ring } else { self.perf }
    }
}

/// A loader whose verifier log holds the reason for a rejection but not every step. A log of some
/// hundred thousand steps overflows, and aya would retry the load with larger and larger buffers.
pub(super) fn loader<'a>() -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    loader
}

/// Sets where the programs read the network namespace of a socket.
pub(super) fn set_namespaces<'a>(loader: &mut EbpfLoader<'a>, mode: &'a BpfMode) {
    if let Some(layout) = &mode.namespaces {
        loader.override_global("NETNS", layout.as_bytes(), true);
    }
}

/// Sets where programs in the context of a task read its cgroup and the name of its process.
pub(super) fn set_process<'a>(loader: &mut EbpfLoader<'a>, mode: &'a BpfMode) {
    loader
        .override_global("HAS_CGROUP", &mode.owners.task_cgroup, true)
        .override_global("PROCESS", mode.owners.process.as_bytes(), true);
}

/// Embeds the objects of one sensor.
macro_rules! object {
    ($name:literal) => {
        $crate::bpf::object::Object {
            ring: aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, ".ring.bpf.o")),
            perf: aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, ".perf.bpf.o")),
        }
    };
}
pub(super) use object;
