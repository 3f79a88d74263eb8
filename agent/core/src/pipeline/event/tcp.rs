//! TCP events from their records.

use reprise_ebpf::tcp;

use crate::{
    model::{ConnectionClosed, ConnectionEnd, Direction, Phase, TcpEvent, TcpEventKind},
    pipeline::socket::connection,
};

/// Decodes the end of a connection; `None` for other records.
pub(in crate::pipeline) fn closed(record: &tcp::TcpEvent) -> Option<ConnectionClosed> {
    (record.header.kind == tcp::CLOSED).then_some(())?;
    Some(ConnectionClosed {
        time_ns: record.header.time_ns,
        connection: connection(&record.socket)?,
        end: end(record.state, record.error),
    })
}

/// How a connection ended that left `state` with this error: a reset sets an error (`tcp_reset`,
/// net/ipv4/tcp_input.c), and so does a peer that no longer answers, or that an ICMP message calls
/// unreachable then (`tcp_write_err`, net/ipv4/tcp_timer.c). Without an error, a connection that
/// has not sent its FIN is dropped with a reset (`__tcp_close`, net/ipv4/tcp.c).
const fn end(state: u32, error: u32) -> ConnectionEnd {
    const EPIPE: u32 = 32;
    const ECONNRESET: u32 = 104;
    const ETIMEDOUT: u32 = 110;
    const EHOSTUNREACH: u32 = 113;
    const ENETUNREACH: u32 = 101;
    match (state, error) {
        (_, ECONNRESET | EPIPE) => ConnectionEnd::ResetReceived,
        (_, ETIMEDOUT | EHOSTUNREACH | ENETUNREACH) => ConnectionEnd::TimedOut,
        (tcp::STATE_ESTABLISHED | tcp::STATE_CLOSE_WAIT, 0) => ConnectionEnd::ResetSent,
        (tcp::STATE_FIN_WAIT2 | tcp::STATE_LAST_ACK | tcp::STATE_CLOSING, 0) => {
            ConnectionEnd::Closed
        }
        _ => ConnectionEnd::Unknown,
    }
}

/// Decodes a record; `None` where it names no connection or is the end of one.
pub(super) fn event(record: &tcp::TcpEvent) -> Option<TcpEvent> {
    (record.header.kind != tcp::CLOSED).then_some(())?;
    Some(TcpEvent {
        time_ns: record.header.time_ns,
        connection: connection(&record.socket)?,
        kind: kind(record),
    })
}

const fn kind(record: &tcp::TcpEvent) -> TcpEventKind {
    use Direction::{Received, Sent};
    use TcpEventKind::Retransmission;
    match record.header.kind {
        tcp::RETRANSMIT if record.state == tcp::STATE_SYN_SENT => Retransmission(Phase::Syn, Sent),
        tcp::RETRANSMIT => Retransmission(Phase::Handshake, Sent),
        tcp::RETRANSMIT_SYNACK => Retransmission(Phase::SynAck, Sent),
        tcp::SYN_AGAIN => Retransmission(Phase::Syn, Received),
        tcp::SYNACK_AGAIN => Retransmission(Phase::SynAck, Received),
        tcp::DATA_AGAIN => Retransmission(Phase::Handshake, Received),
        tcp::FLIGHT_AGAIN => TcpEventKind::LastFlightRetransmission,
        tcp::MISSING | tcp::UNHEARD => TcpEventKind::Missing,
        tcp::LATE => TcpEventKind::LateFirstData,
        tcp::STALL => TcpEventKind::Stall,
        tcp::RESET_RECEIVED => TcpEventKind::ResetReceived,
        _ => TcpEventKind::ResetSent,
    }
}
