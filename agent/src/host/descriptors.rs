//! The limit of open files (RLIMIT_NOFILE). Each observed library file needs descriptors.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that all else needs: HTTP connections, BPF objects, files that are read.
const RESERVED: u64 = 256;

/// The limit of open files of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DescriptorLimit(pub u64);

impl DescriptorLimit {
    /// Raises the limit to the hard limit and returns it.
    #[must_use]
    pub(crate) fn raise() -> Self {
        let resource = Resource::RLIMIT_NOFILE;
        let (soft, hard) = getrlimit(resource).unwrap_or((0, 0));
        match setrlimit(resource, hard, hard) {
            Ok(()) => Self(hard),
            Err(error) => {
                tracing::debug!(soft, hard, reason = %error, "limit of open files not raised");
                Self(soft)
            }
        }
    }

    /// The limit.
    #[must_use]
    pub(crate) fn current() -> Self {
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
        Self(soft)
    }

    /// Number of library files that can be observed if each needs this many descriptors.
    #[must_use]
    pub(crate) fn libraries(self, descriptors: usize) -> usize {
        let available = self.0.saturating_sub(RESERVED) / descriptors.max(1) as u64;
        usize::try_from(available).unwrap_or(usize::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_bounds_the_libraries() {
        assert_eq!(DescriptorLimit(1024).libraries(6), 128);
        assert_eq!(DescriptorLimit(100).libraries(6), 1);
        assert!(DescriptorLimit(u64::MAX).libraries(6) > 1_000_000);
        assert!(DescriptorLimit::current().0 > 0);
    }
}
