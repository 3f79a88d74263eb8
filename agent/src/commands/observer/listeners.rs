//! The process behind each service that only its packets show: registers the addresses of such
//! services with the kernel, which reports when their listening sockets are opened and closed, and
//! searches for the owner of the sockets afterwards, and regularly.
//!
//! An owner is known from its start, from the last change of the sockets, or else from the search
//! that found it; it is unknown again from the last time that it was confirmed. Handshakes without
//! a library are concluded seconds after they ended, so that both reach the pipeline in time.

mod addresses;
mod owners;

use std::{io, sync::mpsc};

use reprise_ebpf::{
    Header,
    handshake::{EXIT, ExitEvent},
    listener::{ListenerEvent, ListenerKey, WINDOW_NS},
};

use self::{
    addresses::Addresses,
    owners::{Departed, Owners},
};
use crate::{
    bpf::HandshakeSensor,
    host::{
        HostProcesses,
        listeners::{self, Search},
        workloads::{EventProcess, Lookups},
    },
};
use reprise_core::pipeline::{listener::OwnerEvent, record::Record};

/// Time between a change and the search for the new owner, nanoseconds; a second search follows,
/// since servers start further processes after they have opened their sockets.
const FIRST_SEARCH_NS: u64 = 100_000_000;
const SECOND_SEARCH_NS: u64 = 2_000_000_000;
/// Interval of searches without a change, nanoseconds.
const INTERVAL_NS: u64 = 30_000_000_000;
/// Pause after a search, as a multiple of the CPU time that it took: searches use at most five per
/// cent of a CPU.
const PAUSE_FACTOR: u64 = 20;

/// Services without a library, and their processes.
pub(super) struct ListenerTracker {
    addresses: Addresses,
    owners: Owners,
    requests: mpsc::Sender<Vec<ListenerKey>>,
    results: mpsc::Receiver<Search>,
    processes: HostProcesses,
    enabled: bool,
    /// A search runs.
    searching: bool,
    /// When the next searches are due.
    due_ns: u64,
    again_ns: u64,
    /// End of the pause after the last one.
    paused_until_ns: u64,
}

impl ListenerTracker {
    /// Starts the thread that searches. Without `namespaces` in the events, or if the host's
    /// processes are not readable, every owner is unknown.
    pub(super) fn start(namespaces: bool, processes: HostProcesses) -> io::Result<Self> {
        let (requests, received) = mpsc::channel();
        let (sender, results) = mpsc::channel();
        let enabled = namespaces && processes.are_readable();
        if enabled {
            listeners::spawn(received, sender, processes)?;
        }
        Ok(Self {
            addresses: Addresses::new(),
            owners: Owners::default(),
            requests,
            results,
            processes,
            enabled,
            searching: false,
            due_ns: u64::MAX,
            again_ns: u64::MAX,
            paused_until_ns: 0,
        })
    }

    /// Processes a record of the sensors.
    pub(super) fn observe(&mut self, record: &Record, now_ns: u64) {
        if !self.enabled {
            return;
        }
        match record {
            Record::Wire(record) => self.addresses.served_on_wire(record, now_ns),
            Record::Handshake(record) => self.addresses.served_by_library(record, now_ns),
            Record::Listener(event) => self.changed(event),
            _ => {}
        }
    }

    fn changed(&mut self, event: &ListenerEvent) {
        let time_ns = event.header.time_ns;
        let until_ns = match event.limited {
            0 => time_ns,
            _ => time_ns.saturating_add(WINDOW_NS),
        };
        self.addresses.changed(&event.key, until_ns);
        self.due_ns = self.due_ns.min(until_ns.saturating_add(FIRST_SEARCH_NS));
        self.again_ns = until_ns.saturating_add(SECOND_SEARCH_NS);
    }

    /// Returns the result of a search that has ended. Must be called before the events up to
    /// `now_ns` are read: then each change before the end of the search is known when the result is
    /// applied.
    pub(super) fn result(&mut self) -> Option<Search> {
        self.results.try_recv().ok()
    }

    /// Applies the result of a search, and starts the next one if it is due; `out` receives the
    /// records that follow.
    pub(super) fn update(
        &mut self,
        result: Option<Search>,
        sensor: Option<&HandshakeSensor>,
        lookups: &mut Lookups,
        now_ns: u64,
        out: &mut impl FnMut(&Record),
    ) {
        let Some(sensor) = sensor.filter(|_| self.enabled) else {
            return;
        };
        if let Some(search) = result {
            self.apply(&search, lookups, now_ns, out);
        }
        if self.addresses.register_new(sensor, now_ns) {
            self.due_ns = self.due_ns.min(now_ns);
        }
        if !self.searching && self.due_ns.max(self.paused_until_ns) <= now_ns {
            let keys = self.addresses.registered();
            if !keys.is_empty() {
                // A closed channel shows that the thread has ended: no owner is known then.
                self.searching = self.requests.send(keys).is_ok();
            }
            self.due_ns = match self.again_ns {
                again if again > now_ns => again,
                _ => now_ns.saturating_add(INTERVAL_NS),
            };
        }
    }

    fn apply(
        &mut self,
        search: &Search,
        lookups: &mut Lookups,
        now_ns: u64,
        out: &mut impl FnMut(&Record),
    ) {
        self.searching = false;
        let pause_ns = search.cost_ns.saturating_mul(PAUSE_FACTOR);
        self.paused_until_ns = now_ns.saturating_add(pause_ns);
        for (key, owner) in &search.owners {
            if !self.addresses.is_registered(key) {
                self.owners.remove(key);
                continue;
            }
            let changed_ns = self.addresses.changed_ns(key);
            if changed_ns >= search.begin_ns {
                // The sockets changed meanwhile; another search is due.
                continue;
            }
            if let Some(owner) = owner
                && let Some(event) = lookups.process(EventProcess::running(owner.tgid), now_ns)
            {
                out(&Record::Workload(Box::new(event)));
            }
            for change in self
                .owners
                .found(*key, *owner, changed_ns, search.begin_ns)
                .into_iter()
                .flatten()
            {
                let event = OwnerEvent::new(*key, change.tgid, change.from_ns, now_ns);
                out(&Record::ListenerOwner(event));
            }
        }
    }

    /// Checks which owners still run.
    pub(super) fn sweep(&mut self, now_ns: u64, out: &mut impl FnMut(&Record)) {
        let processes = self.processes;
        let departed = self.owners.sweep(
            |tgid| processes.start(tgid),
            |key| self.addresses.changed_ns(key),
            now_ns,
        );
        for departed in departed {
            match departed {
                Departed::Process { tgid, time_ns } => out(&Record::Exit(ExitEvent {
                    header: Header {
                        kind: EXIT,
                        size: size_of::<ExitEvent>() as u32,
                        time_ns,
                    },
                    tgid,
                    open: 0,
                })),
                Departed::Owner { key, from_ns } => {
                    out(&Record::ListenerOwner(OwnerEvent::new(
                        key, None, from_ns, now_ns,
                    )));
                    self.due_ns = self.due_ns.min(now_ns);
                    self.again_ns = now_ns.saturating_add(SECOND_SEARCH_NS);
                }
            }
        }
    }
}
