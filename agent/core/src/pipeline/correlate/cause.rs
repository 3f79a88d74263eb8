//! Failure causes: exactly one per handshake, from the strongest evidence. An alert or a local
//! error explains the failure by itself, whatever was retransmitted; packet loss only ever
//! co-occurs.

use crate::model::{
    FailureCause, HelloFacts, HelloFlags, LibraryEnd, LibraryHandshake, NetworkEvidence, Role,
    WireEnd, WireHandshake,
};

/// `SSL_R_UNEXPECTED_EOF_WHILE_READING` (include/openssl/sslerr.h, 3.0 and later).
const REASON_UNEXPECTED_EOF: u32 = 294;
/// `SSL_AD_REASON_OFFSET` (include/openssl/ssl.h): a received alert N is raised as reason 1000 + N.
const REASON_ALERTS: u32 = 1000;
/// `TCP_RTO_MIN` (include/net/tcp.h), nanoseconds.
const RTO_MIN_NS: u64 = 200_000_000;

/// Description of the received alert that an error reason stands for.
pub(super) fn received_alert(reason: u32) -> Option<u8> {
    u8::try_from(reason.checked_sub(REASON_ALERTS)?).ok()
}

/// Cause of a library's handshake that did not complete. `wire` is the same handshake on the wire,
/// where that was observed.
pub(super) fn from_library(
    handshake: &LibraryHandshake,
    network: &NetworkEvidence,
    wire: Option<&WireHandshake>,
) -> FailureCause {
    let wire_end = wire.map(|wire| wire.end);
    let unexpected_eof = handshake.reason == Some(REASON_UNEXPECTED_EOF);
    match handshake.reason {
        Some(reason) if received_alert(reason).is_some() => return FailureCause::AlertReceived,
        Some(_) if !unexpected_eof => {
            let alert_sent = handshake.alert_sent || wire_end == Some(WireEnd::AlertSent);
            return if alert_sent {
                FailureCause::AlertSent
            } else {
                FailureCause::LocalError
            };
        }
        _ => {}
    }
    match wire_end {
        Some(WireEnd::AlertReceived) => return FailureCause::AlertReceived,
        Some(WireEnd::AlertSent) => return FailureCause::AlertSent,
        _ => {}
    }
    if network.loss() {
        return FailureCause::PacketLoss;
    }
    // A program with memory BIOs reads the end of the stream itself, and then drops the handshake
    // or reports the end to its library. A reset that follows is only the peer's answer to data
    // that this side sent after the peer had closed.
    let dropped = handshake.end != LibraryEnd::Failed;
    if closed_by_peer(handshake, wire) {
        return FailureCause::Closed;
    }
    if handshake.end == LibraryEnd::ProcessEnded {
        return FailureCause::Abandoned;
    }
    if unexpected_eof {
        return FailureCause::Closed;
    }
    if network.resets_received > 0 {
        return FailureCause::Reset;
    }
    // A program may free the connection object long after it closed the socket.
    let end_ns = wire
        .filter(|wire| wire.end == WireEnd::ClosedHere)
        .map_or(handshake.end_ns, |wire| {
            handshake.end_ns.min(wire.hello.end_ns)
        });
    let silence_ns = end_ns.saturating_sub(handshake.heard_ns);
    let stalled = silence_ns >= timeout_ns(network.rtt_us);
    if dropped {
        return if stalled {
            FailureCause::Timeout
        } else {
            FailureCause::Abandoned
        };
    }
    // No error, no retry: end of file, or a socket that was closed during the read.
    match (handshake.socket_closed, network.resets_sent) {
        // The kernel timed out (keepalive, `TCP_USER_TIMEOUT`).
        (true, 0) if stalled => FailureCause::Timeout,
        (false, 0) => FailureCause::Closed,
        _ => FailureCause::Reset,
    }
}

/// Whether the peer closed the connection before this host did, and before the handshake ended in
/// the library.
pub(super) fn closed_by_peer(handshake: &LibraryHandshake, wire: Option<&WireHandshake>) -> bool {
    let by_wire = wire.is_some_and(|wire| {
        wire.end == WireEnd::ClosedByPeer && wire.hello.end_ns <= handshake.end_ns
    });
    by_wire || handshake.peer_closed
}

/// Cause of a handshake that was observed on the wire alone and did not complete.
pub(super) fn from_wire(handshake: &WireHandshake, network: &NetworkEvidence) -> FailureCause {
    match handshake.end {
        WireEnd::AlertReceived => FailureCause::AlertReceived,
        WireEnd::AlertSent => FailureCause::AlertSent,
        _ if network.loss() => FailureCause::PacketLoss,
        WireEnd::Reset => FailureCause::Reset,
        WireEnd::ClosedByPeer => FailureCause::Closed,
        // This host closed the connection.
        _ if handshake.silence_ns >= timeout_ns(handshake.rtt_us) => FailureCause::Timeout,
        _ => FailureCause::Abandoned,
    }
}

/// Whether a waiting server received the ClientHello only after a retransmission timeout or longer:
/// a ClientHello that was lost and retransmitted has no other trace. Where something else preceded
/// TLS, the client may have waited for it.
pub(super) fn hello_was_late(
    handshake: &LibraryHandshake,
    hello: &HelloFacts,
    rtt_us: Option<u32>,
) -> bool {
    handshake.role == Some(Role::Server)
        && !hello.has(HelloFlags::LATE)
        && hello.begin_ns >= handshake.begin_ns.saturating_add(timeout_ns(rtt_us))
        && hello.begin_ns <= handshake.end_ns
}

/// Shortest retransmission timeout that the connection can have had, nanoseconds: TCP adds the
/// variation to the round-trip time, and counts it as at least `TCP_RTO_MIN` (`__tcp_set_rto` and
/// `tcp_rtt_estimator`, net/ipv4/tcp_input.c).
fn timeout_ns(rtt_us: Option<u32>) -> u64 {
    RTO_MIN_NS + u64::from(rtt_us.unwrap_or(0)) * 1000
}
