//! What TCP did on a connection: retransmissions and resets of any socket on the host, told by the `tcp` sensor, and what the
//! `hello` sensor sees arrive twice, late or out of turn before a handshake is over.

use crate::{Header, Socket};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Header::kind`: a segment was sent again.
pub const RETRANSMIT: u32 = 16;
/// `Header::kind`: a SYN-ACK was sent again, by a listener.
pub const RETRANSMIT_SYNACK: u32 = 17;
/// `Header::kind`: a reset arrived.
pub const RESET_RECEIVED: u32 = 18;
/// `Header::kind`: a reset was sent.
pub const RESET_SENT: u32 = 19;
/// `Header::kind`: a SYN arrived again, at a listener that serves TLS.
pub const SYN_AGAIN: u32 = 20;
/// `Header::kind`: a SYN-ACK arrived again.
pub const SYNACK_AGAIN: u32 = 21;
/// `Header::kind`: data of a handshake arrived that lies at or below what had arrived before.
pub const DATA_AGAIN: u32 = 22;
/// `Header::kind`: a segment arrived from beyond data that has not arrived.
pub const MISSING: u32 = 23;
/// `Header::kind`: a record went on after its sender had been silent for a retransmission timeout.
pub const STALL: u32 = 24;
/// `Header::kind`: after both sides had finished, what this host had sent until then was sent again.
pub const FLIGHT_AGAIN: u32 = 25;
/// `Header::kind`: the first data of a connection arrived at a listener later than anything but a lost packet, or a slow peer, explains.
pub const LATE: u32 = 26;
/// `Header::kind`: a segment arrived that does not acknowledge what had been sent more than a round trip before.
pub const UNHEARD: u32 = 27;

/// `TcpEvent::state`: connection not yet answered (`TCP_SYN_SENT`, include/net/tcp_states.h).
pub const STATE_SYN_SENT: u32 = 2;
/// `newstate` of `inet_sock_set_state`: `TCP_ESTABLISHED`.
pub const STATE_ESTABLISHED: u32 = 1;
/// `newstate` of `inet_sock_set_state`: `TCP_CLOSE`.
pub const STATE_CLOSE: u32 = 7;
/// `newstate` of `inet_sock_set_state`: `TCP_CLOSE_WAIT`, the peer's FIN arrived.
pub const STATE_CLOSE_WAIT: u32 = 8;

/// One of the above.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TcpEvent {
    /// Kind and time.
    pub header: Header,
    /// TCP state of the socket, 0 where the tracepoint does not give it.
    pub state: u32,
    /// Zero.
    pub reserved: u32,
    /// The connection.
    pub socket: Socket,
}

const _: () = assert!(size_of::<TcpEvent>() == 72);
