//! Why a handshake failed: exactly one cause each, the strongest evidence first. An alert or a local error explains the
//! failure by itself, whatever was retransmitted; loss is only ever said to have co-occurred.

use reprise_ebpf::handshake::{HandshakeEvent, flag, outcome, role};

use super::Trouble;
use crate::pipeline::wire::{HelloEvent, end};

/// `SSL_R_UNEXPECTED_EOF_WHILE_READING` (include/openssl/sslerr.h, 3.0 and later).
const REASON_UNEXPECTED_EOF: u32 = 294;
/// `SSL_AD_REASON_OFFSET` (include/openssl/ssl.h): a received alert N is raised as reason 1000 + N.
const REASON_ALERTS: std::ops::Range<u32> = 1000..1256;
/// `TCP_RTO_MIN` (include/net/tcp.h), nanoseconds.
const RTO_MIN_NS: u64 = 200_000_000;

/// Failure causes, as the metrics name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Never completed, and retransmissions, gaps or stalls fell on its connection while it ran.
    PacketLoss,
    /// Stalled without evidence of loss, then given up.
    Timeout,
    /// TCP reset.
    Reset,
    /// The peer closed without an alert.
    Closed,
    /// The peer sent a fatal alert.
    AlertReceived,
    /// This side sent a fatal alert.
    AlertSent,
    /// The library refused.
    LocalError,
    /// The process dropped it.
    Abandoned,
}

impl Cause {
    /// Every cause, in the order of their index.
    pub const ALL: [Self; 8] = [
        Self::PacketLoss,
        Self::Timeout,
        Self::Reset,
        Self::Closed,
        Self::AlertReceived,
        Self::AlertSent,
        Self::LocalError,
        Self::Abandoned,
    ];

    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::PacketLoss => "packet_loss",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::AlertReceived => "alert_received",
            Self::AlertSent => "alert_sent",
            Self::LocalError => "local_error",
            Self::Abandoned => "abandoned",
        }
    }
}

/// The cause of a handshake that did not complete. `on_wire` is how it ended on the wire, a constant of [`end`], where that was
/// seen.
pub(super) fn of(event: &HandshakeEvent, trouble: &Trouble, on_wire: Option<u8>) -> Cause {
    if REASON_ALERTS.contains(&event.reason) {
        return Cause::AlertReceived;
    }
    if event.reason != 0 && event.reason != REASON_UNEXPECTED_EOF {
        let alerted = event.flags & flag::ALERTED != 0 || on_wire == Some(end::ALERT_OUT);
        return if alerted {
            Cause::AlertSent
        } else {
            Cause::LocalError
        };
    }
    match on_wire {
        Some(end::ALERT_IN) => return Cause::AlertReceived,
        Some(end::ALERT_OUT) => return Cause::AlertSent,
        _ => {}
    }
    if trouble.loss() {
        return Cause::PacketLoss;
    }
    if event.outcome == outcome::PROCESS_ENDED {
        return Cause::Abandoned;
    }
    // The library read the end of the stream. A reset behind it answers the alert that this side sent to a socket which was no more.
    if event.reason == REASON_UNEXPECTED_EOF {
        return Cause::Closed;
    }
    if trouble.resets_received > 0 {
        return Cause::Reset;
    }
    if event.flags & flag::PEER_CLOSED != 0 {
        return Cause::Closed;
    }
    let silence_ns = event.header.time_ns.saturating_sub(event.heard_ns);
    let stalled = silence_ns >= timeout_ns(trouble.rtt_us);
    if event.outcome != outcome::FAILED {
        return if stalled {
            Cause::Timeout
        } else {
            Cause::Abandoned
        };
    }
    // No error, no retry: end of file, or a socket that died under the read.
    match (event.flags & flag::SOCKET_CLOSED != 0, trouble.resets_sent) {
        // Of the kernel's own impatience (keepalive, `TCP_USER_TIMEOUT`).
        (true, 0) if stalled => Cause::Timeout,
        (false, 0) => Cause::Closed,
        _ => Cause::Reset,
    }
}

/// Whether a server that was ready waited for its client for a retransmission timeout or longer, and then the ClientHello came: one that
/// was lost and sent again shows in no other way.
pub(super) fn came_late(event: &HandshakeEvent, hello: &HelloEvent) -> bool {
    event.role == role::SERVER
        && hello.begin_ns >= event.begin_ns.saturating_add(timeout_ns(hello.rtt_us))
        && hello.begin_ns <= event.header.time_ns
}

/// The shortest retransmission timeout that the connection can have had, nanoseconds: TCP adds to the round-trip time its
/// variation, and that is taken as `TCP_RTO_MIN` at least (`__tcp_set_rto` and `tcp_rtt_estimator`, net/ipv4/tcp_input.c).
const fn timeout_ns(rtt_us: u32) -> u64 {
    RTO_MIN_NS + rtt_us as u64 * 1000
}

/// The cause of a handshake that was seen on the wire alone and did not complete.
pub(super) fn of_wire(hello: &HelloEvent, trouble: &Trouble) -> Cause {
    match hello.end {
        end::ALERT_IN => Cause::AlertReceived,
        end::ALERT_OUT => Cause::AlertSent,
        _ if trouble.loss() => Cause::PacketLoss,
        end::RESET => Cause::Reset,
        end::CLOSED_IN => Cause::Closed,
        // This host gave it up.
        _ if u64::from(hello.silence_ms) * 1_000_000 >= timeout_ns(hello.rtt_us) => Cause::Timeout,
        _ => Cause::Abandoned,
    }
}
