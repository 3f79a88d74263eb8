//! TCP events of a connection: retransmissions and resets of any socket on the host, from the `tcp`
//! sensor, and packets that arrive twice, late or out of order before a handshake is over, from the
//! `wire` sensor.

use crate::{Header, Socket};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Header::kind`: a segment was retransmitted.
pub const RETRANSMIT: u32 = 16;
/// `Header::kind`: a listener retransmitted a SYN-ACK.
pub const RETRANSMIT_SYNACK: u32 = 17;
/// `Header::kind`: a reset arrived.
pub const RESET_RECEIVED: u32 = 18;
/// `Header::kind`: a reset was sent.
pub const RESET_SENT: u32 = 19;
/// `Header::kind`: a retransmitted SYN arrived at a listener that serves TLS.
pub const SYN_AGAIN: u32 = 20;
/// `Header::kind`: a retransmitted SYN-ACK arrived.
pub const SYNACK_AGAIN: u32 = 21;
/// `Header::kind`: handshake data arrived below the highest sequence number seen.
pub const DATA_AGAIN: u32 = 22;
/// `Header::kind`: a segment arrived after a gap in the sequence numbers.
pub const MISSING: u32 = 23;
/// `Header::kind`: a record continued after its sender was silent for a retransmission timeout.
pub const STALL: u32 = 24;
/// `Header::kind`: this host retransmitted its last flight after both sides had finished.
pub const FLIGHT_AGAIN: u32 = 25;
/// `Header::kind`: the first data of a connection arrived at a listener so late that only a lost
/// packet or a slow peer explains it.
pub const LATE: u32 = 26;
/// `Header::kind`: a segment arrived that does not acknowledge data sent more than a round trip
/// before.
pub const UNHEARD: u32 = 27;

/// `Header::kind`: an established connection ended; the state is the one that it left.
pub const CLOSED: u32 = 28;

/// `TcpEvent::state`: connection not yet answered (`TCP_SYN_SENT`, include/net/tcp_states.h).
pub const STATE_SYN_SENT: u32 = 2;
/// `newstate` of `inet_sock_set_state`: `TCP_ESTABLISHED`.
pub const STATE_ESTABLISHED: u32 = 1;
/// State after this side's FIN and its acknowledgement: `TCP_FIN_WAIT2`.
pub const STATE_FIN_WAIT2: u32 = 5;
/// State after the FINs of both sides, the peer's first: `TCP_LAST_ACK`.
pub const STATE_LAST_ACK: u32 = 9;
/// State after the FINs of both sides at once: `TCP_CLOSING`.
pub const STATE_CLOSING: u32 = 11;
/// State after this side's FIN: `TCP_FIN_WAIT1`.
pub const STATE_FIN_WAIT1: u32 = 4;
/// `newstate` of `inet_sock_set_state`: `TCP_CLOSE`.
pub const STATE_CLOSE: u32 = 7;
/// `newstate` of `inet_sock_set_state`: `TCP_CLOSE_WAIT`, the peer's FIN arrived.
pub const STATE_CLOSE_WAIT: u32 = 8;
/// State of a listening socket: `TCP_LISTEN`.
pub const STATE_LISTEN: u32 = 10;

/// [`TcpEvent::error`] where the error of the socket was not read.
pub const NO_ERROR_READ: u32 = u32::MAX;
/// Words of 64 ports in `TCP_PORTS`: first the local ports of servers, then the remote ports.
pub const PORT_WORDS: u32 = 2 * 65_536 / 64;

/// A TCP event of one of the kinds above.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TcpEvent {
    /// Kind and time.
    pub header: Header,
    /// TCP state of the socket; 0 where the tracepoint does not have it.
    pub state: u32,
    /// Error of the socket of a [`CLOSED`] connection (include/uapi/asm-generic/errno.h), 0 without
    /// one and [`NO_ERROR_READ`] where it was not read; else zero.
    pub error: u32,
    /// The connection.
    pub socket: Socket,
}

const _: () = assert!(size_of::<TcpEvent>() == 72);
