//! Typed events: what the correlation engine works on. Records are decoded into them once, here.

mod library;
mod listener;
pub(in crate::pipeline) mod tcp;
mod wire;

use std::sync::Arc;

use crate::{
    model::{
        AlertAfterCompletion, LibraryHandshake, ListenerChange, ListenerOwner, SessionRemoved,
        TcpEvent, WireHandshake,
    },
    pipeline::record::Record,
};

/// One event, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A handshake ended in a library.
    Library(Box<LibraryHandshake>),
    /// A handshake ended on the wire.
    Wire(Arc<WireHandshake>),
    /// Something happened on a TCP connection.
    Tcp(TcpEvent),
    /// An alert arrived right after a handshake had completed.
    Alert(AlertAfterCompletion),
    /// A library removed a session from its cache.
    SessionRemoved(SessionRemoved),
    /// A process ended, or executed a new program.
    ProcessEnded {
        /// When, nanoseconds of `CLOCK_MONOTONIC`.
        time_ns: u64,
        /// Process.
        tgid: u32,
        /// It executed a new program.
        by_exec: bool,
    },
    /// A listening socket was opened or closed.
    ListenerChanged(ListenerChange),
    /// The owner of listening sockets was found, or is no longer known.
    ListenerOwner(ListenerOwner),
    /// The host's wall clock minus its monotonic clock, nanoseconds.
    WallClock {
        /// When, nanoseconds of `CLOCK_MONOTONIC`.
        time_ns: u64,
        /// Wall clock minus monotonic clock, nanoseconds.
        offset_ns: i64,
    },
    /// Time passed: no earlier event is still in transit. Nanoseconds of `CLOCK_MONOTONIC`.
    Tick(u64),
    /// Nothing that the engine uses.
    Ignored,
}

impl From<&Record> for Event {
    /// A record that names no connection or no role is ignored.
    fn from(record: &Record) -> Self {
        match record {
            Record::Handshake(record) => Self::Library(Box::new(library::handshake(record))),
            Record::Tcp(record) => tcp::event(record).map_or(Self::Ignored, Self::Tcp),
            Record::Wire(record) => wire::handshake(record)
                .map_or(Self::Ignored, |handshake| Self::Wire(Arc::new(handshake))),
            Record::Alert(record) => library::alert(record).map_or(Self::Ignored, Self::Alert),
            Record::SessionRemoved(record) => Self::SessionRemoved(library::removed(record)),
            Record::Clock(record) => Self::WallClock {
                time_ns: record.header.time_ns,
                offset_ns: record.offset_ns,
            },
            Record::Exec(record) => Self::ProcessEnded {
                time_ns: record.header.time_ns,
                tgid: record.tgid,
                by_exec: true,
            },
            Record::Exit(record) => Self::ProcessEnded {
                time_ns: record.header.time_ns,
                tgid: record.tgid,
                by_exec: false,
            },
            Record::Listener(record) => Self::ListenerChanged(listener::change(record)),
            Record::ListenerOwner(record) => Self::ListenerOwner(listener::owner(record)),
            Record::Workload(_) => Self::Ignored,
            Record::Tick(time_ns) => Self::Tick(*time_ns),
        }
    }
}
