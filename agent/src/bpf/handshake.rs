//! The `handshake` sensor: uprobes on TLS libraries, and the tracepoints that identify the socket
//! of a handshake.

mod completed;
mod layout;
mod libraries;
mod load;
mod open;
mod points;

use std::{fs::File, io};

use aya::Ebpf;
use reprise_core::plan::Plan;
use reprise_ebpf::{
    handshake::HandshakeEvent,
    listener::{ListenerKey, ListenerWindow},
};
use zerocopy::IntoBytes as _;

pub(crate) use self::open::OpenCounts;
use self::{completed::CompletedHandshakes, libraries::AttachedLibraries, open::OpenHandshakes};
use super::{
    clock::now_ns, error::SensorError, hash_map::HashMap, program::take_map,
    sensor_events::SensorEvents, uprobe_multi::ProgramStats,
};
use crate::{
    host::ObservedCgroup,
    status::{BpfMode, LibraryId, Status},
};

pub(super) use self::load::TRACEPOINTS;

/// The running sensor; dropping it detaches everything.
pub(crate) struct HandshakeSensor {
    /// Dropped first: uprobes are detached before the buffers close.
    libraries: AttachedLibraries,
    /// Events, loss counter and log.
    pub(crate) events: SensorEvents,
    open: OpenHandshakes,
    completed: CompletedHandshakes,
    listeners: HashMap,
    /// Owns the programs and the tracepoint links.
    ebpf: Ebpf,
}

impl HandshakeSensor {
    pub(super) fn start(
        mode: BpfMode,
        status: &mut Status,
        cgroup: Option<&ObservedCgroup>,
    ) -> Result<Self, SensorError> {
        let mut loaded = load::load(mode)?;
        if let Some(cgroup) = cgroup {
            load::set_scope(&mut loaded.ebpf, cgroup)?;
        }
        let events = SensorEvents::open(&mut loaded.ebpf, mode, &load::MAPS)?;
        load::attach_tracepoints(&mut loaded, status)?;
        let load::Loaded {
            mut ebpf,
            uprobes,
            exits,
            ..
        } = loaded;
        Ok(Self {
            events,
            open: OpenHandshakes::new(&mut ebpf, exits)?,
            completed: CompletedHandshakes::new(&mut ebpf)?,
            listeners: HashMap::take(&mut ebpf, "HS_LISTENERS")?,
            libraries: AttachedLibraries::new(take_map(&mut ebpf, "HS_LAYOUTS")?, uprobes),
            ebpf,
        })
    }

    /// Attaches one library through the open files that its plan was made from, so that a file
    /// replaced in between is never probed.
    ///
    /// # Errors
    ///
    /// [`SensorError`]; no point of the library is attached then.
    pub(crate) fn attach(
        &mut self,
        id: LibraryId,
        plan: &Plan,
        ssl: &File,
        crypto: Option<&File>,
        status: &mut Status,
    ) -> Result<(), SensorError> {
        let files = points::LibraryFiles { ssl, crypto };
        self.libraries
            .attach(&mut self.ebpf, id, plan, &files, status)
    }

    /// Detaches a library; does nothing if it is not attached.
    pub(crate) fn detach(&mut self, id: LibraryId, status: &mut Status) {
        self.libraries.detach(id, status);
    }

    /// The loaded object.
    pub(super) const fn object(&self) -> &Ebpf {
        &self.ebpf
    }

    /// The kernel's statistics of the programs that are not in [`Self::object`].
    pub(super) fn program_stats(&self) -> impl Iterator<Item = (&'static str, ProgramStats)> {
        self.libraries.program_stats()
    }

    /// Records that a process ended, or executed a new program, with open handshakes.
    pub(crate) fn process_ended(&mut self, tgid: u32, time_ns: u64, by_exec: bool) {
        self.open.process_ended(tgid, time_ns, by_exec);
    }

    /// Lets the programs report the listening sockets at an address.
    pub(crate) fn register_listener(&self, key: &ListenerKey) -> io::Result<()> {
        let window = ListenerWindow::default();
        self.listeners.insert(key.as_bytes(), window.as_bytes())
    }

    /// Reverses [`Self::register_listener`].
    pub(crate) fn unregister_listener(&self, key: &ListenerKey) {
        self.listeners.remove(key.as_bytes());
    }

    /// Ends the open handshakes of processes that ended and passes one event for each to `ended`.
    /// Removes what is too old from other tables.
    pub(crate) fn sweep(
        &mut self,
        is_alive: impl FnMut(u32) -> bool,
        ended: impl FnMut(&HandshakeEvent),
    ) -> OpenCounts {
        self.completed.sweep(now_ns());
        self.open.sweep(is_alive, ended)
    }
}
