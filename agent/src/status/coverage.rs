//! Which processes are observed and which are not. Plain data, written by the discovery thread.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::library_id::LibraryId;

/// Reason why a process that maps a TLS library is not observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The kernel rejected the probes.
    AttachFailed,
    /// BoringSSL without the names of its functions.
    Boringssl,
    /// Code for another architecture, or 32-bit code.
    ForeignMachine,
    /// `--ignore` or `--ignore-process` excludes the file.
    Ignored,
    /// Neither OpenSSL nor a descendant of it: GnuTLS, NSS, Go, rustls …
    OtherLibrary,
    /// More library files exist than can be observed.
    TooManyLibraries,
    /// The file costs more work or CPU time than any known library.
    TooMuchWork,
    /// A process under a translator such as Valgrind maps the library.
    Translated,
    /// The process or its library could not be read.
    Unreadable,
    /// The process or the file system of its library does not answer.
    Unresponsive,
    /// An OpenSSL in which the handshake function or a required field was not found.
    UnsupportedBuild,
}

impl Reason {
    /// Every reason, in the order of labels.
    pub const ALL: [Self; 11] = [
        Self::AttachFailed,
        Self::Boringssl,
        Self::ForeignMachine,
        Self::Ignored,
        Self::OtherLibrary,
        Self::TooManyLibraries,
        Self::TooMuchWork,
        Self::Translated,
        Self::Unreadable,
        Self::Unresponsive,
        Self::UnsupportedBuild,
    ];

    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::AttachFailed => "attach_failed",
            Self::Boringssl => "boringssl",
            Self::ForeignMachine => "foreign_machine",
            Self::Ignored => "ignored",
            Self::OtherLibrary => "other_library",
            Self::TooManyLibraries => "too_many_libraries",
            Self::TooMuchWork => "too_much_work",
            Self::Translated => "translated",
            Self::Unreadable => "unreadable",
            Self::Unresponsive => "unresponsive",
            Self::UnsupportedBuild => "unsupported_build",
        }
    }

    /// Advice to the operator.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::AttachFailed => {
                "see the agent's log for the kernel's answer; `reprise inspect FILE` shows where the probes would go"
            }
            Self::Boringssl => {
                "BoringSSL without function names has nothing to attach to: a build with its symbols left in can be observed"
            }
            Self::ForeignMachine => "only 64-bit code of this machine's own kind can be observed",
            Self::Ignored => "remove the path from --ignore or --ignore-process",
            Self::OtherLibrary => "only OpenSSL and its descendants can be observed",
            Self::TooManyLibraries => {
                "restart the processes that still run many different old library files, or leave some out by --ignore"
            }
            Self::TooMuchWork => {
                "exclude the file by --ignore; if it is a genuine library, send the output of `reprise inspect FILE` to the maintainers"
            }
            Self::Translated => {
                "nothing: the library is observed again when the program under Valgrind, Pin, DynamoRIO or QEMU has ended"
            }
            Self::Unresponsive => {
                "repair or unmount the file system that does not answer; /readyz names it"
            }
            Self::Unreadable => {
                "run the agent as root with CAP_SYS_PTRACE in the host's PID namespace"
            }
            Self::UnsupportedBuild => {
                "send the output of `reprise inspect FILE` to the maintainers: the library is built in a way not seen before"
            }
        }
    }
}

/// A process that is not observed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Example {
    /// Process ID in the initial PID namespace.
    pub pid: u32,
    /// Path of the file that contains the TLS library.
    pub file: String,
    /// Description of the finding.
    pub finding: String,
}

/// The processes that are not observed for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncovered {
    /// Number of processes.
    pub processes: u64,
    /// Example processes; at most [`MAX_EXAMPLES`].
    pub examples: Vec<Example>,
}

/// Maximum number of example processes per reason.
pub const MAX_EXAMPLES: usize = 5;

/// Result of a scan of all processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Number of processes that use an observed library.
    pub observed: u64,
    /// Processes that use only libraries that are not observed.
    pub uncovered: BTreeMap<Reason, Uncovered>,
    /// Number of processes per library.
    pub users: BTreeMap<LibraryId, u64>,
    /// Processes and file systems that do not answer.
    #[serde(default)]
    pub unanswered: Unanswered,
}

/// Inspections of processes and files that have not returned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// Number of inspections.
    pub inspections: u64,
    /// What they inspect; at most [`MAX_EXAMPLES`].
    pub examples: Vec<String>,
}
