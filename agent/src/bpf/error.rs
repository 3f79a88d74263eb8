//! Errors of loading, attaching and reading BPF programs.

use std::io;

use aya::{
    maps::{MapError, perf::PerfBufferError},
    programs::ProgramError,
};
use thiserror::Error;

use super::{
    btf::NoOffsets,
    canary::{effect::Effect, kind::ProbeKind},
};

/// Failure of a sensor or of a part of one.
#[derive(Debug, Error)]
pub(crate) enum SensorError {
    /// The kernel rejected the object.
    #[error("failed to load the BPF object")]
    Load(#[source] Box<aya::EbpfError>),
    /// The kernel rejected a program or its attach point.
    #[error("failed to attach {probe}")]
    Attach {
        /// Name of the program.
        probe: &'static str,
        /// aya's error.
        source: Box<ProgramError>,
    },
    /// The kernel refused to load a program for another reason than its code.
    #[error("failed to load {probe}")]
    LoadProgram {
        /// Name of the program.
        probe: &'static str,
        /// Error of the system call.
        source: io::Error,
    },
    /// The verifier rejected a program; its log is written at debug level.
    #[error("the kernel's verifier rejected {probe}")]
    Verifier {
        /// Name of the program.
        probe: &'static str,
        /// Error of the system call.
        source: io::Error,
    },
    /// A map has an unexpected type or cannot be accessed.
    #[error("failed to use map {map}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// aya's error.
        source: Box<MapError>,
    },
    /// The per-CPU buffers of a perf event array cannot be opened.
    #[error("failed to open the buffers of {map}")]
    Buffers {
        /// Name of the map.
        map: &'static str,
        /// aya's error.
        source: PerfBufferError,
    },
    /// The programs cannot be linked with the maps.
    #[error("failed to link the BPF object")]
    Link(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kernel rejected a uprobe-multi link.
    #[error("failed to attach {probe}")]
    UprobeMulti {
        /// Name of the program.
        probe: &'static str,
        /// Error of the system call.
        source: io::Error,
    },
    /// Copies of the programs cannot share the maps of the first object.
    #[error("failed to share maps through a BPF file system")]
    ShareMaps(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log buffer of the programs cannot be opened.
    #[error("failed to read the log of the programs")]
    Log(#[source] aya_log::Error),
    /// The object has no such program or map: it was built from other sources.
    #[error("the BPF object has no {0}")]
    Missing(&'static str),
    /// The description of a tracepoint cannot be read.
    #[error("failed to read the format of tracepoint {event}")]
    Format {
        /// `category/name`.
        event: &'static str,
        /// Error of the read.
        source: io::Error,
    },
    /// A tracepoint has no such field, which the program needs.
    #[error("tracepoint {event} has no field {field}")]
    Field {
        /// `category/name`.
        event: &'static str,
        /// Name of the field.
        field: &'static str,
    },
    /// The root of the cgroup v2 hierarchy cannot be opened.
    #[error("failed to open the root of the cgroup v2 hierarchy")]
    Cgroup(#[source] io::Error),
    /// Programs without a current task cannot be restricted to one cgroup.
    #[error("--cgroup")]
    SocketScope(#[source] NoOffsets),
    /// A probe of this kind harmed the canary process.
    #[error("a probe {} is {effect}; no probe is attached to any process", kind.describe())]
    Harmful {
        /// Kind of the probe.
        kind: ProbeKind,
        /// Effect on the canary process.
        effect: Effect,
    },
    /// No layout slot is free.
    #[error("{0} libraries are attached already")]
    TooManyLibraries(u32),
}

impl SensorError {
    /// Failure of `BPF_PROG_LOAD`. The verifier answers `EACCES` or `EINVAL` to code that it
    /// rejects and `E2BIG` to code that is too complex (kernel/bpf/verifier.c); everything else is
    /// about the agent or the host.
    pub(super) fn from_load(probe: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EACCES | libc::EINVAL | libc::E2BIG) => Self::Verifier { probe, source },
            _ => Self::LoadProgram { probe, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::chain;

    #[test]
    fn only_the_verifier_is_blamed_for_code() {
        let text = |code| {
            chain(&SensorError::from_load(
                "hs_exit",
                io::Error::from_raw_os_error(code),
            ))
        };
        assert!(text(libc::EACCES).starts_with("the kernel's verifier rejected hs_exit"));
        for code in [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOMEM,
            libc::EPERM,
            libc::EAGAIN,
        ] {
            let text = text(code);
            assert!(text.starts_with("failed to load hs_exit"), "{text}");
        }
        assert!(text(libc::EMFILE).contains("Too many open files"));
    }
}
