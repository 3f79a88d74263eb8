//! The objects that the build embedded: two of each sensor, of which the kernel gets the one that it can run.

#[cfg(test)]
mod floor;
#[cfg(test)]
mod stack;

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

/// Embeds the objects of one sensor.
macro_rules! object {
    ($name:literal) => {
        $crate::sensors::object::Object {
            ring: aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, ".ring.bpf.o")),
            perf: aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, ".perf.bpf.o")),
        }
    };
}
pub(super) use object;
