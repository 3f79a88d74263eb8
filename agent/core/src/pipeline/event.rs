//! Typed events: what the correlation engine works on. Records are decoded into them once, here.

mod library;
mod tcp;
mod wire;

use crate::{
    model::{AlertAfterCompletion, LibraryHandshake, SessionRemoved, TcpEvent, WireHandshake},
    pipeline::record::Record,
};

/// One event, in order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A handshake ended in a library.
    Library(LibraryHandshake),
    /// A handshake ended on the wire.
    Wire(WireHandshake),
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
    /// The host's wall clock minus its monotonic clock, nanoseconds.
    WallClock {
        /// When, nanoseconds of `CLOCK_MONOTONIC`.
        time_ns: u64,
        /// Wall clock minus monotonic clock, nanoseconds.
        offset_ns: i64,
    },
    /// Only time passed. Nanoseconds of `CLOCK_MONOTONIC`.
    Tick(u64),
}

impl Event {
    /// When it happened, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn time_ns(&self) -> u64 {
        match self {
            Self::Library(handshake) => handshake.end_ns,
            Self::Wire(handshake) => handshake.hello.end_ns,
            Self::Tcp(event) => event.time_ns,
            Self::Alert(alert) => alert.time_ns,
            Self::SessionRemoved(removed) => removed.time_ns,
            Self::WallClock { time_ns, .. }
            | Self::ProcessEnded { time_ns, .. }
            | Self::Tick(time_ns) => *time_ns,
        }
    }
}

impl From<&Record> for Event {
    /// A record that names no connection, no role, or nothing that the engine uses, is a tick.
    fn from(record: &Record) -> Self {
        let tick = Self::Tick(record.time_ns());
        match record {
            Record::Handshake(record) => Self::Library(library::handshake(record)),
            Record::Tcp(record) => tcp::event(record).map_or(tick, Self::Tcp),
            Record::Wire(record) => wire::handshake(record).map_or(tick, Self::Wire),
            Record::Alert(record) => library::alert(record).map_or(tick, Self::Alert),
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
            Record::Workload(_) | Record::Tick(_) => tick,
        }
    }
}
