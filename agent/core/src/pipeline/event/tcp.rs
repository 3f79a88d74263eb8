//! TCP events from their records.

use reprise_ebpf::tcp;

use crate::{
    model::{Direction, Phase, TcpEvent, TcpEventKind},
    pipeline::socket::connection,
};

/// Decodes a record; `None` where it names no connection.
pub(super) fn event(record: &tcp::TcpEvent) -> Option<TcpEvent> {
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
