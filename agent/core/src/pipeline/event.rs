//! What the sensors tell: bytes of the ABI in, typed events out. Pure; used live, by `replay`, and by tests.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use reprise_ebpf::{
    ABSENT, Header, Socket,
    handshake::{
        self, AlertEvent, ExecEvent, ExitEvent, ForgetEvent, HandshakeEvent, SessionId,
        socket_source,
    },
    tcp::{self, TcpEvent},
};
use thiserror::Error;
use zerocopy::{FromBytes, FromZeros as _, IntoBytes as _};

use crate::pipeline::{
    clock::{self, ClockEvent},
    wire::{self, HelloEvent},
    workload::{self, WorkloadEvent},
};

/// One thing that happened, in order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A handshake ended.
    Handshake(HandshakeEvent),
    /// A segment was sent again or arrived again, or a reset was seen.
    Tcp(TcpEvent),
    /// A process executed a new program.
    Exec(ExecEvent),
    /// An alert arrived right after a handshake had completed.
    Alert(AlertEvent),
    /// A process that had driven a handshake ended.
    Exit(ExitEvent),
    /// The first flights of a connection ended.
    Hello(HelloEvent),
    /// A session was taken out of a cache.
    Forget(ForgetEvent),
    /// The host's clock was read.
    Clock(ClockEvent),
    /// It was found whose process one is.
    Workload(WorkloadEvent),
    /// Time passed: nothing older than this is still on its way. Nanoseconds of `CLOCK_MONOTONIC`.
    Tick(u64),
}

/// Why bytes are no event.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than its kind needs.
    #[error("event of {got} bytes is shorter than the {want} its kind needs")]
    Short {
        /// Bytes there are.
        got: usize,
        /// Bytes there should be.
        want: usize,
    },
    /// Unknown kind.
    #[error("unknown event kind {0}")]
    Kind(u32),
}

/// `Header::kind` of a recorded [`Event::Tick`]; the kernel never sends it.
pub const TICK: u32 = 255;

impl Event {
    /// Decodes one event; bytes behind it are ignored (rings pad to eight).
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for short input and unknown kinds.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: Header = prefix(bytes)?;
        match header.kind {
            handshake::HANDSHAKE => prefix(bytes).map(Self::Handshake),
            handshake::EXEC => prefix(bytes).map(Self::Exec),
            handshake::ALERT => prefix(bytes).map(Self::Alert),
            handshake::EXIT => prefix(bytes).map(Self::Exit),
            handshake::FORGET => forget(bytes).map(Self::Forget),
            clock::CLOCK => prefix(bytes).map(Self::Clock),
            workload::WORKLOAD => prefix(bytes).map(Self::Workload),
            tcp::RETRANSMIT..=tcp::UNHEARD => prefix(bytes).map(Self::Tcp),
            wire::HELLO => prefix(bytes).map(Self::Hello),
            TICK => Ok(Self::Tick(header.time_ns)),
            kind => Err(DecodeError::Kind(kind)),
        }
    }

    /// When it happened, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn time_ns(&self) -> u64 {
        match self {
            Self::Handshake(event) => event.header.time_ns,
            Self::Tcp(event) => event.header.time_ns,
            Self::Exec(event) => event.header.time_ns,
            Self::Exit(event) => event.header.time_ns,
            Self::Alert(event) => event.header.time_ns,
            Self::Hello(event) => event.header.time_ns,
            Self::Forget(event) => event.header.time_ns,
            Self::Clock(event) => event.header.time_ns,
            Self::Workload(event) => event.header.time_ns,
            Self::Tick(time) => *time,
        }
    }
}

impl Event {
    /// Puts hashes in the place of session IDs. What comes from the kernel passes here before anybody else sees it.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        match &mut self {
            Self::Handshake(event) => seal(&mut event.session_id),
            Self::Forget(event) => seal(&mut event.session_id),
            Self::Tcp(_)
            | Self::Exec(_)
            | Self::Exit(_)
            | Self::Alert(_)
            | Self::Hello(_)
            | Self::Clock(_)
            | Self::Workload(_)
            | Self::Tick(_) => {}
        }
        self
    }

    /// The bytes that [`Self::decode`] takes; none for a tick.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Handshake(event) => event.as_bytes(),
            Self::Tcp(event) => event.as_bytes(),
            Self::Exec(event) => event.as_bytes(),
            Self::Exit(event) => event.as_bytes(),
            Self::Alert(event) => event.as_bytes(),
            Self::Hello(event) => event.as_bytes(),
            Self::Forget(event) => event.as_bytes(),
            Self::Clock(event) => event.as_bytes(),
            Self::Workload(event) => event.as_bytes(),
            Self::Tick(_) => &[],
        }
    }
}

/// By the same hash as the wire's.
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
fn forget(bytes: &[u8]) -> Result<ForgetEvent, DecodeError> {
    const OLD: usize = std::mem::offset_of!(ForgetEvent, ssl);
    prefix(bytes).or_else(|error| {
        let mut event = ForgetEvent::new_zeroed();
        let old = bytes.get(..OLD).ok_or(error)?;
        event.as_mut_bytes()[..OLD].copy_from_slice(old);
        event.shutdown = ABSENT;
        Ok(event)
    })
}

fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::read_from_prefix(bytes)
        .map(|(value, _)| value)
        .map_err(|_| DecodeError::Short {
            got: bytes.len(),
            want: size_of::<T>(),
        })
}

/// Both ends of a TCP connection, seen from this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

impl Connection {
    /// The connection a socket record names; `None` where it names none (both ports zero).
    #[must_use]
    pub fn of(socket: &Socket) -> Option<Self> {
        if socket.local_port == 0 && socket.remote_port == 0 {
            return None;
        }
        Some(Self {
            local: SocketAddr::new(address(socket.local), socket.local_port),
            remote: SocketAddr::new(address(socket.remote), socket.remote_port),
        })
    }

    /// The connection a handshake ran on, where it was found.
    #[must_use]
    pub fn of_handshake(event: &HandshakeEvent) -> Option<Self> {
        if event.socket_source == socket_source::NONE {
            return None;
        }
        Self::of(&event.socket)
    }
}

fn address(words: [u64; 2]) -> IpAddr {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&words[0].to_ne_bytes());
    bytes[8..].copy_from_slice(&words[1].to_ne_bytes());
    Ipv6Addr::from(bytes).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(address: Ipv6Addr) -> [u64; 2] {
        let bytes = address.octets();
        [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i])))
    }

    #[test]
    fn tcp_event_round_trips_and_unmaps_ipv4() {
        let event = TcpEvent {
            header: Header {
                kind: tcp::RETRANSMIT,
                size: 72,
                time_ns: 7,
            },
            state: 1,
            reserved: 0,
            socket: Socket {
                local: words("::ffff:10.0.0.1".parse().unwrap()),
                remote: words("2001:db8::2".parse().unwrap()),
                local_port: 443,
                remote_port: 50_000,
                ..Socket::default()
            },
        };
        let Event::Tcp(decoded) = Event::decode(event.as_bytes()).unwrap() else {
            panic!("kind");
        };
        assert_eq!(decoded, event);
        let connection = Connection::of(&decoded.socket).unwrap();
        assert_eq!(connection.local, "10.0.0.1:443".parse().unwrap());
        assert_eq!(connection.remote, "[2001:db8::2]:50000".parse().unwrap());
    }

    #[test]
    fn short_and_unknown_are_errors() {
        assert_eq!(
            Event::decode(&[0; 3]),
            Err(DecodeError::Short { got: 3, want: 16 })
        );
        assert_eq!(
            Event::decode(&[9; 200]),
            Err(DecodeError::Kind(0x0909_0909))
        );
        let header = Header {
            kind: handshake::HANDSHAKE,
            size: 0,
            time_ns: 0,
        };
        assert_eq!(
            Event::decode(header.as_bytes()),
            Err(DecodeError::Short { got: 16, want: 256 })
        );
    }

    #[test]
    fn no_session_id_passes_the_seal() {
        let mut event = ForgetEvent::new_zeroed();
        event.header.kind = handshake::FORGET;
        event.session_id.bytes = [0xab; 32];
        event.session_id.length = 32;
        let Event::Forget(sealed) = Event::decode(event.as_bytes()).unwrap().sealed() else {
            panic!("kind");
        };
        let hash = wire::short_hash(&[0xab; 32]);
        assert_eq!(sealed.session_id.bytes[..8], hash.to_be_bytes());
        assert_eq!(sealed.session_id.bytes[8..], [0; 24]);
        event.session_id = SessionId::default();
        assert_eq!(Event::Forget(event).sealed(), Event::Forget(event));
    }

    #[test]
    fn removals_of_older_recordings_have_no_shutdown_bits() {
        let mut event = ForgetEvent::new_zeroed();
        event.header.kind = handshake::FORGET;
        event.tgid = 7;
        event.shutdown = 1;
        let Ok(Event::Forget(whole)) = Event::decode(event.as_bytes()) else {
            panic!("kind");
        };
        assert_eq!(whole, event);
        let Ok(Event::Forget(old)) = Event::decode(&event.as_bytes()[..80]) else {
            panic!("kind");
        };
        assert_eq!(
            (old.tgid, old.ssl, old.shutdown, old.reason),
            (7, 0, ABSENT, 0)
        );
        assert!(Event::decode(&event.as_bytes()[..79]).is_err());
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let _ = Event::decode(&bytes);
        }
    }
}
