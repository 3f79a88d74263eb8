//! Resolves the flags for transport and library data against what the kernel supports.

use aya::{maps::MapType, sys::is_map_supported};
use clap::ValueEnum;
use thiserror::Error;

use crate::{
    bpf::{netns, owner_fields, uprobe_multi},
    errors::chain,
    status::{BpfMode, CookieSource, OwnerFields},
};

/// Requested event transport.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// The better one that the kernel has.
    #[default]
    Auto,
    /// Ring buffers (5.8).
    Ring,
    /// Perf event arrays.
    Perf,
}

/// Requested source of the cookie that identifies a library to the programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LibraryData {
    /// The best one that the kernel has.
    #[default]
    Auto,
    /// Attach cookies, with one link for all points of a program in a file (6.6).
    Link,
    /// Attach cookies, with a perf event for each point (5.15).
    Cookie,
    /// Copies of the programs per library, each with its own constant.
    Copy,
}

/// `--library-data` asks for cookies that the programs for perf event arrays do not read.
#[derive(Debug, Error)]
#[error(
    "--library-data: the programs for perf event arrays, made for older kernels, have no cookies"
)]
pub(crate) struct IncompatibleFlags;

/// The mode that the command line asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ModeRequest {
    /// Value of `--transport`.
    pub transport: Transport,
    /// Value of `--library-data`.
    pub library_data: LibraryData,
    /// Log messages from the programs; honoured only with ring buffers.
    pub log: bool,
}

impl ModeRequest {
    /// Replaces each `auto` by the best choice that the kernel supports.
    ///
    /// # Errors
    ///
    /// [`IncompatibleFlags`].
    pub(crate) fn resolve(self) -> Result<BpfMode, IncompatibleFlags> {
        // A kernel that refuses to answer also refuses the load later, which reports the error.
        let mut mode = self.resolve_with(
            || is_map_supported(MapType::RingBuf).unwrap_or(true),
            best_cookie_source,
        )?;
        mode.namespaces = netns::layout(mode.ring)
            .inspect_err(|error| {
                let reason = chain(error);
                tracing::info!(reason, "network namespaces not distinguished");
            })
            .ok();
        mode.owners = owner_fields::find(mode.ring);
        Ok(mode)
    }

    fn resolve_with(
        self,
        has_ring: impl FnOnce() -> bool,
        best_cookie_source: impl FnOnce() -> CookieSource,
    ) -> Result<BpfMode, IncompatibleFlags> {
        let ring = match self.transport {
            Transport::Auto => has_ring(),
            Transport::Ring => true,
            Transport::Perf => false,
        };
        let cookie_source = match self.library_data {
            LibraryData::Auto if ring => best_cookie_source(),
            LibraryData::Auto | LibraryData::Copy => CookieSource::ProgramCopies,
            LibraryData::Link | LibraryData::Cookie if !ring => return Err(IncompatibleFlags),
            LibraryData::Link => CookieSource::UprobeMulti,
            LibraryData::Cookie => CookieSource::PerfEvent,
        };
        Ok(BpfMode {
            ring,
            cookie_source,
            log: self.log && ring,
            namespaces: None,
            scoped: false,
            owners: OwnerFields::UNKNOWN,
        })
    }
}

/// The best cookie source that the kernel supports.
fn best_cookie_source() -> CookieSource {
    if uprobe_multi::is_supported() {
        CookieSource::UprobeMulti
    } else if aya::features().bpf_cookie() {
        CookieSource::PerfEvent
    } else {
        CookieSource::ProgramCopies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Transport and cookie source of a kernel.
    type Support = (bool, CookieSource);

    fn resolve(
        transport: Transport,
        library_data: LibraryData,
        kernel: Support,
    ) -> Option<Support> {
        let request = ModeRequest {
            transport,
            library_data,
            log: true,
        };
        let mode = request.resolve_with(|| kernel.0, || kernel.1).ok()?;
        assert_eq!(mode.log, mode.ring, "the log is a ring buffer");
        Some((mode.ring, mode.cookie_source))
    }

    #[test]
    fn auto_resolves_to_what_the_kernel_supports() {
        let auto = |kernel| resolve(Transport::Auto, LibraryData::Auto, kernel);
        for kernel in [
            (true, CookieSource::UprobeMulti),    // 6.6 and later
            (true, CookieSource::PerfEvent),      // 5.15 to 6.5
            (true, CookieSource::ProgramCopies),  // 5.8 to 5.14
            (false, CookieSource::ProgramCopies), // 5.4
        ] {
            assert_eq!(auto(kernel), Some(kernel));
        }
        assert_eq!(
            auto((false, CookieSource::UprobeMulti)),
            Some((false, CookieSource::ProgramCopies))
        );
    }

    #[test]
    fn explicit_flags_override_kernel_support() {
        let new = (true, CookieSource::UprobeMulti);
        let old = (false, CookieSource::ProgramCopies);
        let (auto, perf) = (LibraryData::Auto, Transport::Perf);
        assert_eq!(resolve(perf, auto, new), Some(old));
        assert_eq!(resolve(perf, LibraryData::Copy, new), Some(old));
        assert_eq!(resolve(perf, LibraryData::Cookie, new), None);
        assert_eq!(resolve(perf, LibraryData::Link, new), None);
        let ring = Transport::Ring;
        for (requested, source) in [
            (LibraryData::Copy, CookieSource::ProgramCopies),
            (LibraryData::Cookie, CookieSource::PerfEvent),
            (LibraryData::Link, CookieSource::UprobeMulti),
        ] {
            assert_eq!(resolve(ring, requested, new), Some((true, source)));
            assert_eq!(resolve(ring, requested, old), Some((true, source)));
        }
        let expected = Some((true, CookieSource::ProgramCopies));
        assert_eq!(resolve(ring, auto, old), expected);
    }
}
