//! How the programs do what kernels offer in different ways: what events leave by, and how a program knows which library it
//! runs in. By what the kernel can do, or by a flag.

use aya::{maps::MapType, sys::is_map_supported};
use clap::ValueEnum;
use serde::Serialize;
use thiserror::Error;

use super::multi;

/// What events reach the agent by.
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

/// How programs are told what they must know of a library.
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

/// What became of [`LibraryData`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Library {
    /// Uprobe-multi links.
    Links,
    /// Perf events with cookies.
    Cookies,
    /// Copies of the programs.
    Copies,
}

/// What is used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Means {
    /// Ring buffers rather than perf event arrays.
    pub ring: bool,
    /// How a program knows its library.
    pub library: Library,
    /// The programs say in words what goes wrong.
    pub log: bool,
}

/// Two flags that do not go together.
#[derive(Debug, Error)]
#[error(
    "--library-data: the programs for perf event arrays, made for older kernels, have no cookies"
)]
pub struct Unfit;

/// What was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// See there.
    pub transport: Transport,
    /// See there.
    pub library_data: LibraryData,
    /// The programs should say in words what goes wrong; they can where there are ring buffers.
    pub log: bool,
}

impl Wanted {
    /// Asks the kernel for what was not asked for.
    ///
    /// # Errors
    ///
    /// [`Unfit`].
    pub fn settle(self) -> Result<Means, Unfit> {
        // A refusal to answer is told later, by the load that is refused in the same way.
        self.choose(|| is_map_supported(MapType::RingBuf).unwrap_or(true), best)
    }

    fn choose(
        self,
        has_ring: impl FnOnce() -> bool,
        best: impl FnOnce() -> Library,
    ) -> Result<Means, Unfit> {
        let ring = match self.transport {
            Transport::Auto => has_ring(),
            Transport::Ring => true,
            Transport::Perf => false,
        };
        let library = match self.library_data {
            LibraryData::Auto if ring => best(),
            LibraryData::Auto | LibraryData::Copy => Library::Copies,
            LibraryData::Link | LibraryData::Cookie if !ring => return Err(Unfit),
            LibraryData::Link => Library::Links,
            LibraryData::Cookie => Library::Cookies,
        };
        Ok(Means {
            ring,
            library,
            log: self.log && ring,
        })
    }
}

/// The best that the kernel has.
fn best() -> Library {
    if multi::is_supported() {
        Library::Links
    } else if aya::features().bpf_cookie() {
        Library::Cookies
    } else {
        Library::Copies
    }
}

impl Means {
    /// The same without what came after 5.4, where programs have two forms.
    pub(super) const fn of_older_kernels(self) -> Self {
        Self {
            ring: false,
            log: false,
            ..self
        }
    }

    /// The transport, in words.
    #[must_use]
    pub const fn transport(self) -> &'static str {
        if self.ring {
            "ring buffers"
        } else {
            "perf event arrays"
        }
    }

    /// How programs know their library, in words.
    #[must_use]
    pub const fn library_data(self) -> &'static str {
        match self.library {
            Library::Links => "attach cookies in uprobe-multi links",
            Library::Cookies => "attach cookies",
            Library::Copies => "copies of the programs per library",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(
        transport: Transport,
        library_data: LibraryData,
        has: (bool, Library),
    ) -> Option<(bool, Library)> {
        let wanted = Wanted {
            transport,
            library_data,
            log: true,
        };
        let means = wanted.choose(|| has.0, || has.1).ok()?;
        assert_eq!(means.log, means.ring, "the log is a ring buffer");
        Some((means.ring, means.library))
    }

    #[test]
    fn each_kernel_gets_what_it_has() {
        let auto = |has| chosen(Transport::Auto, LibraryData::Auto, has);
        for has in [
            (true, Library::Links),   // 6.6 and later
            (true, Library::Cookies), // 5.15 to 6.5
            (true, Library::Copies),  // 5.8 to 5.14
            (false, Library::Copies), // 5.4
        ] {
            assert_eq!(auto(has), Some(has));
        }
        assert_eq!(
            auto((false, Library::Links)),
            Some((false, Library::Copies))
        );
    }

    #[test]
    fn flags_decide_whatever_the_kernel_has() {
        let new = (true, Library::Links);
        let old = (false, Library::Copies);
        let (auto, perf) = (LibraryData::Auto, Transport::Perf);
        assert_eq!(chosen(perf, auto, new), Some(old));
        assert_eq!(chosen(perf, LibraryData::Copy, new), Some(old));
        assert_eq!(chosen(perf, LibraryData::Cookie, new), None);
        assert_eq!(chosen(perf, LibraryData::Link, new), None);
        let ring = Transport::Ring;
        for (wanted, library) in [
            (LibraryData::Copy, Library::Copies),
            (LibraryData::Cookie, Library::Cookies),
            (LibraryData::Link, Library::Links),
        ] {
            assert_eq!(chosen(ring, wanted, new), Some((true, library)));
            assert_eq!(chosen(ring, wanted, old), Some((true, library)));
        }
        assert_eq!(chosen(ring, auto, old), Some((true, Library::Copies)));
    }
}
