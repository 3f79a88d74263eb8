//! How the programs do what kernels offer in different ways: what events leave by, and how a program knows which library it
//! runs in. By what the kernel can do, or by a flag.

use aya::{maps::MapType, sys::is_map_supported};
use clap::ValueEnum;
use serde::Serialize;
use thiserror::Error;

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
    /// The better one that the kernel has.
    #[default]
    Auto,
    /// Attach cookies (5.15).
    Cookie,
    /// Copies of the programs per library, each with its own constant.
    Copy,
}

/// What is used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Means {
    /// Ring buffers rather than perf event arrays.
    pub ring: bool,
    /// Attach cookies rather than copies.
    pub cookies: bool,
    /// The programs say in words what goes wrong.
    pub log: bool,
}

/// Two flags that do not go together.
#[derive(Debug, Error)]
#[error(
    "--library-data cookie: the programs for perf event arrays, made for older kernels, have no cookies"
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
        self.choose(
            || is_map_supported(MapType::RingBuf).unwrap_or(true),
            || aya::features().bpf_cookie(),
        )
    }

    fn choose(
        self,
        has_ring: impl FnOnce() -> bool,
        has_cookies: impl FnOnce() -> bool,
    ) -> Result<Means, Unfit> {
        let ring = match self.transport {
            Transport::Auto => has_ring(),
            Transport::Ring => true,
            Transport::Perf => false,
        };
        let cookies = match self.library_data {
            LibraryData::Auto => ring && has_cookies(),
            LibraryData::Cookie if !ring => return Err(Unfit),
            LibraryData::Cookie => true,
            LibraryData::Copy => false,
        };
        Ok(Means {
            ring,
            cookies,
            log: self.log && ring,
        })
    }
}

impl Means {
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
        if self.cookies {
            "attach cookies"
        } else {
            "copies of the programs per library"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(
        transport: Transport,
        library_data: LibraryData,
        has: (bool, bool),
    ) -> Option<(bool, bool)> {
        let wanted = Wanted {
            transport,
            library_data,
            log: true,
        };
        let means = wanted.choose(|| has.0, || has.1).ok()?;
        assert_eq!(means.log, means.ring, "the log is a ring buffer");
        Some((means.ring, means.cookies))
    }

    #[test]
    fn each_kernel_gets_what_it_has() {
        let auto = |has| chosen(Transport::Auto, LibraryData::Auto, has);
        assert_eq!(auto((true, true)), Some((true, true)), "5.15 and later");
        assert_eq!(auto((true, false)), Some((true, false)), "5.8 to 5.14");
        assert_eq!(auto((false, false)), Some((false, false)), "5.4");
        assert_eq!(auto((false, true)), Some((false, false)), "none such");
    }

    #[test]
    fn flags_decide_whatever_the_kernel_has() {
        let new = (true, true);
        let (auto, perf) = (LibraryData::Auto, Transport::Perf);
        assert_eq!(chosen(perf, auto, new), Some((false, false)));
        assert_eq!(chosen(perf, LibraryData::Copy, new), Some((false, false)));
        assert_eq!(chosen(perf, LibraryData::Cookie, new), None);
        let ring = Transport::Ring;
        assert_eq!(chosen(ring, LibraryData::Copy, new), Some((true, false)));
        assert_eq!(chosen(ring, auto, (false, false)), Some((true, false)));
        let forced = chosen(ring, LibraryData::Cookie, (false, false));
        assert_eq!(forced, Some((true, true)));
    }
}
