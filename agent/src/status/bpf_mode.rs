//! How BPF programs send events, identify the library they run in, and the network namespace of a
//! socket.

use reprise_ebpf::{cgroup::ProcessLayout, netns::NamespaceLayout};

/// How an uprobe program learns which library it runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieSource {
    /// Attach cookies of uprobe-multi links (kernel 6.6).
    UprobeMulti,
    /// Attach cookies of one perf event per attach point (kernel 5.15).
    PerfEvent,
    /// A constant in a copy of the programs; one copy per cookie.
    ProgramCopies,
}

/// The kernel features that the loaded programs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BpfMode {
    /// Events arrive through ring buffers instead of perf event arrays.
    pub ring: bool,
    /// Where uprobe programs read their cookie.
    pub cookie_source: CookieSource,
    /// The programs write log messages for failures inside the kernel.
    pub log: bool,
    /// Where the programs read the network namespace of a socket; `None` where they do not.
    pub namespaces: Option<NamespaceLayout>,
    /// The programs observe the processes of one cgroup only.
    pub scoped: bool,
    /// Where the programs read whose event it is.
    pub owners: OwnerFields,
}

/// Where the programs read the cgroup and the name of a process, and the cgroup of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerFields {
    /// 1 where the kernel has the ID of the current task's cgroup, else 0.
    pub task_cgroup: u32,
    /// 1 where packet programs have the ID of the socket's cgroup, else 0.
    pub socket_cgroup: u32,
    /// The name of the current process.
    pub process: ProcessLayout,
}

impl OwnerFields {
    /// No cgroup, and the name of the thread.
    pub const UNKNOWN: Self = Self {
        task_cgroup: 0,
        socket_cgroup: 0,
        process: ProcessLayout::UNKNOWN,
    };
}

impl BpfMode {
    /// This mode restricted to what kernel 5.4 has.
    pub(crate) const fn for_older_kernels(self) -> Self {
        Self {
            ring: false,
            log: false,
            namespaces: None,
            owners: OwnerFields {
                socket_cgroup: 0,
                ..self.owners
            },
            ..self
        }
    }

    /// Description of the event transport.
    #[must_use]
    pub const fn transport(self) -> &'static str {
        if self.ring {
            "ring buffers"
        } else {
            "perf event arrays"
        }
    }

    /// Description of the cookie source.
    #[must_use]
    pub const fn library_data(self) -> &'static str {
        match self.cookie_source {
            CookieSource::UprobeMulti => "attach cookies in uprobe-multi links",
            CookieSource::PerfEvent => "attach cookies",
            CookieSource::ProgramCopies => "copies of the programs per library",
        }
    }
}
