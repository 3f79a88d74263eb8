//! Records of the sensors and of the agent, as the ABI lays them out: the form that is recorded and
//! replayed. [`super::event::Event`] is the typed form that the pipeline works on.

use std::mem::offset_of;

use reprise_ebpf::{
    ABSENT, Header,
    handshake::{self, AlertEvent, ExecEvent, ExitEvent, ForgetEvent, HandshakeEvent, SessionId},
    listener::{self, ListenerEvent},
    tcp::{self, TcpEvent},
};
use zerocopy::IntoBytes as _;

use crate::pipeline::{
    clock::{self, ClockEvent},
    decode::{DecodeError, prefix, prefix_since},
    listener::{OWNER, OwnerEvent},
    wire::{self, WireRecord},
    workload::{self, WorkloadEvent},
};

/// One record, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A handshake ended in a library.
    Handshake(HandshakeEvent),
    /// A retransmission, a gap, a stall or a reset on a TCP connection.
    Tcp(TcpEvent),
    /// A process executed a new program.
    Exec(ExecEvent),
    /// An alert arrived right after a handshake had completed.
    Alert(AlertEvent),
    /// A process that had driven a handshake ended.
    Exit(ExitEvent),
    /// The first flights of a connection ended.
    Wire(WireRecord),
    /// A library removed a session from its cache.
    SessionRemoved(ForgetEvent),
    /// A listening socket was opened or closed.
    Listener(ListenerEvent),
    /// The agent found the owner of listening sockets.
    ListenerOwner(OwnerEvent),
    /// The agent read the host's clock.
    Clock(ClockEvent),
    /// The agent resolved the owner of a process.
    Workload(Box<WorkloadEvent>),
    /// Time passed: no record older than this is still in transit. Nanoseconds of
    /// `CLOCK_MONOTONIC`.
    Tick(u64),
}

/// `Header::kind` of a recorded [`Record::Tick`]; the kernel never sends it.
pub const TICK: u32 = 255;

impl Record {
    /// Decodes one record; bytes behind it are ignored (ring buffers pad to eight).
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for short input and unknown kinds.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: Header = prefix(bytes)?;
        match header.kind {
            handshake::HANDSHAKE => {
                const OLD: usize = offset_of!(HandshakeEvent, cgroup);
                prefix_since(bytes, OLD).map(Self::Handshake)
            }
            handshake::EXEC => {
                const OLD: usize = offset_of!(ExecEvent, comm);
                prefix_since(bytes, OLD).map(Self::Exec)
            }
            handshake::ALERT => prefix(bytes).map(Self::Alert),
            handshake::EXIT => prefix(bytes).map(Self::Exit),
            handshake::FORGET => session_removed(bytes).map(Self::SessionRemoved),
            listener::OPENED | listener::CLOSED => prefix(bytes).map(Self::Listener),
            OWNER => prefix(bytes).map(Self::ListenerOwner),
            clock::CLOCK => prefix(bytes).map(Self::Clock),
            workload::WORKLOAD => prefix(bytes).map(|event| Self::Workload(Box::new(event))),
            tcp::RETRANSMIT..=tcp::CLOSED => prefix(bytes).map(Self::Tcp),
            wire::WIRE => {
                const OLD: usize = offset_of!(WireRecord, proxied);
                const OLDEST: usize = offset_of!(WireRecord, cgroup);
                let record = prefix_since(bytes, OLD);
                record
                    .or_else(|_| prefix_since(bytes, OLDEST))
                    .map(Self::Wire)
            }
            TICK => Ok(Self::Tick(header.time_ns)),
            kind => Err(DecodeError::Kind(kind)),
        }
    }

    /// Time of the record, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn time_ns(&self) -> u64 {
        match self {
            Self::Handshake(record) => record.header.time_ns,
            Self::Tcp(record) => record.header.time_ns,
            Self::Exec(record) => record.header.time_ns,
            Self::Exit(record) => record.header.time_ns,
            Self::Alert(record) => record.header.time_ns,
            Self::Wire(record) => record.header.time_ns,
            Self::SessionRemoved(record) => record.header.time_ns,
            Self::Listener(record) => record.header.time_ns,
            Self::ListenerOwner(record) => record.header.time_ns,
            Self::Clock(record) => record.header.time_ns,
            Self::Workload(record) => record.header.time_ns,
            Self::Tick(time) => *time,
        }
    }

    /// Replaces session IDs by their hashes. Every record from the kernel passes through here
    /// before it is recorded or correlated.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        match &mut self {
            Self::Handshake(record) => seal(&mut record.session_id),
            Self::SessionRemoved(record) => seal(&mut record.session_id),
            Self::Tcp(_)
            | Self::Exec(_)
            | Self::Exit(_)
            | Self::Alert(_)
            | Self::Wire(_)
            | Self::Listener(_)
            | Self::ListenerOwner(_)
            | Self::Clock(_)
            | Self::Workload(_)
            | Self::Tick(_) => {}
        }
        self
    }

    /// Removes the network namespace of its connection: where one sensor cannot read it, the keys
    /// of a connection would differ from sensor to sensor.
    #[must_use]
    pub fn without_namespace(mut self) -> Self {
        match &mut self {
            Self::Handshake(record) => record.socket.netns = 0,
            Self::Tcp(record) => record.socket.netns = 0,
            Self::Alert(record) => record.socket.netns = 0,
            Self::Wire(record) => record.socket.netns = 0,
            Self::Listener(record) => record.key.netns = 0,
            Self::ListenerOwner(record) => record.key.netns = 0,
            Self::Exec(_)
            | Self::Exit(_)
            | Self::SessionRemoved(_)
            | Self::Clock(_)
            | Self::Workload(_)
            | Self::Tick(_) => {}
        }
        self
    }

    /// The bytes that [`Self::decode`] reads; none for a tick.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Handshake(record) => record.as_bytes(),
            Self::Tcp(record) => record.as_bytes(),
            Self::Exec(record) => record.as_bytes(),
            Self::Exit(record) => record.as_bytes(),
            Self::Alert(record) => record.as_bytes(),
            Self::Wire(record) => record.as_bytes(),
            Self::SessionRemoved(record) => record.as_bytes(),
            Self::Listener(record) => record.as_bytes(),
            Self::ListenerOwner(record) => record.as_bytes(),
            Self::Clock(record) => record.as_bytes(),
            Self::Workload(record) => record.as_bytes(),
            Self::Tick(_) => &[],
        }
    }
}

/// Replaces an ID by the hash that the `wire` sensor's records hold for the same ID.
fn seal(id: &mut SessionId) {
    let length = (id.length as usize).min(id.bytes.len());
    let hash = wire::short_hash(&id.bytes[..length]);
    id.bytes = [0; 32];
    if length > 0 {
        id.bytes[..8].copy_from_slice(&hash.to_be_bytes());
    }
}

/// Decodes a session removal. Recordings made before the shutdown bits existed end with the session
/// ID.
fn session_removed(bytes: &[u8]) -> Result<ForgetEvent, DecodeError> {
    const OLD: usize = offset_of!(ForgetEvent, ssl);
    let mut record: ForgetEvent = prefix_since(bytes, OLD)?;
    if bytes.len() < size_of::<ForgetEvent>() {
        record.shutdown = ABSENT;
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reprise_ebpf::Socket;
    use zerocopy::FromZeros as _;

    use crate::pipeline::socket::{connection, words};

    #[test]
    fn tcp_event_round_trips_and_unmaps_ipv4() {
        let event = TcpEvent {
            header: Header {
                kind: tcp::RETRANSMIT,
                size: 72,
                time_ns: 7,
            },
            state: 1,
            error: 0,
            socket: Socket {
                local: words("::ffff:10.0.0.1".parse().unwrap()),
                remote: words("2001:db8::2".parse().unwrap()),
                local_port: 443,
                remote_port: 50_000,
                ..Socket::default()
            },
        };
        let Record::Tcp(decoded) = Record::decode(event.as_bytes()).unwrap() else {
            panic!("kind");
        };
        assert_eq!(decoded, event);
        let connection = connection(&decoded.socket).unwrap();
        assert_eq!(connection.local, "10.0.0.1:443".parse().unwrap());
        assert_eq!(connection.remote, "[2001:db8::2]:50000".parse().unwrap());
    }

    #[test]
    fn short_and_unknown_are_errors() {
        assert_eq!(
            Record::decode(&[0; 3]),
            Err(DecodeError::Short { got: 3, want: 16 })
        );
        assert_eq!(
            Record::decode(&[9; 200]),
            Err(DecodeError::Kind(0x0909_0909))
        );
        let header = Header {
            kind: handshake::HANDSHAKE,
            size: 0,
            time_ns: 0,
        };
        assert_eq!(
            Record::decode(header.as_bytes()),
            Err(DecodeError::Short { got: 16, want: 264 })
        );
    }

    #[test]
    fn no_session_id_passes_the_seal() {
        let mut event = ForgetEvent::new_zeroed();
        event.header.kind = handshake::FORGET;
        event.session_id.bytes = [0xab; 32];
        event.session_id.length = 32;
        let Record::SessionRemoved(sealed) = Record::decode(event.as_bytes()).unwrap().sealed()
        else {
            panic!("kind");
        };
        let hash = wire::short_hash(&[0xab; 32]);
        assert_eq!(sealed.session_id.bytes[..8], hash.to_be_bytes());
        assert_eq!(sealed.session_id.bytes[8..], [0; 24]);
        event.session_id = SessionId::default();
        assert_eq!(
            Record::SessionRemoved(event).sealed(),
            Record::SessionRemoved(event)
        );
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let _ = Record::decode(&bytes);
        }
    }

    #[test]
    fn removals_of_older_recordings_have_no_shutdown_bits() {
        let mut record = ForgetEvent::new_zeroed();
        record.header.kind = handshake::FORGET;
        record.tgid = 7;
        record.shutdown = 1;
        let Ok(Record::SessionRemoved(whole)) = Record::decode(record.as_bytes()) else {
            panic!("kind");
        };
        assert_eq!(whole, record);
        let Ok(Record::SessionRemoved(old)) = Record::decode(&record.as_bytes()[..80]) else {
            panic!("kind");
        };
        assert_eq!(
            (old.tgid, old.ssl, old.shutdown, old.reason),
            (7, 0, ABSENT, 0)
        );
        assert!(Record::decode(&record.as_bytes()[..79]).is_err());
    }

    #[test]
    fn handshakes_of_older_recordings_have_no_cgroup() {
        let mut record = HandshakeEvent::new_zeroed();
        record.header.kind = handshake::HANDSHAKE;
        (record.tgid, record.cgroup) = (7, 9);
        let Ok(Record::Handshake(whole)) = Record::decode(record.as_bytes()) else {
            panic!("kind");
        };
        assert_eq!(whole, record);
        let Ok(Record::Handshake(old)) = Record::decode(&record.as_bytes()[..256]) else {
            panic!("kind");
        };
        assert_eq!((old.tgid, old.cgroup), (7, 0));
        let mut record = WireRecord::new_zeroed();
        record.header.kind = wire::WIRE;
        (record.silence_ms, record.cgroup) = (7, 9);
        for (length, cgroup) in [(288, 0), (296, 9)] {
            let Ok(Record::Wire(old)) = Record::decode(&record.as_bytes()[..length]) else {
                panic!("kind");
            };
            assert_eq!((old.silence_ms, old.cgroup), (7, cgroup));
        }
    }
}
