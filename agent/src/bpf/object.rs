//! The objects that the build embedded: two of each sensor, of which the kernel gets the one that it can run.

#[cfg(test)]
mod floor;
#[cfg(test)]
mod stack;

use aya::{EbpfLoader, VerifierLogLevel};

use super::means::Means;

/// One sensor's programs, built twice from one source.
pub(super) struct Object {
    /// For kernels with ring buffers.
    pub(super) ring: &'static [u8],
    /// For kernels without: they need nothing that 5.4 lacks.
    pub(super) perf: &'static [u8],
}

impl Object {
    /// The one to load.
    pub(super) const fn fit(&self, means: Means) -> &'static [u8] {
        if means.ring { self.ring } else { self.perf }
    }
}

/// A loader whose verifier says why it refuses a program, and not each step of the way there: of some hundred thousand steps no log
/// has room for the end, and a program is tried again and again for a log with more room.
pub(super) fn loader<'a>() -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    loader
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
