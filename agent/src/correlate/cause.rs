//! Why a handshake failed: exactly one cause each, the strongest evidence first. An alert or a local error explains the
//! failure by itself, whatever was retransmitted; loss is only ever said to have co-occurred.

use reprise_ebpf::handshake::{HandshakeEvent, flag, outcome};

use super::history::{History, Retransmits};
use crate::hello::end;

/// `SSL_R_UNEXPECTED_EOF_WHILE_READING` (include/openssl/sslerr.h, 3.0 and later).
const REASON_UNEXPECTED_EOF: u32 = 294;
/// `SSL_AD_REASON_OFFSET` (include/openssl/ssl.h): a received alert N is raised as reason 1000 + N.
const REASON_ALERTS: std::ops::Range<u32> = 1000..1256;

/// Failure causes, as the metrics name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Never completed, and retransmissions fell on its connection while it ran.
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

/// The cause of a handshake that did not complete.
pub(super) fn of(event: &HandshakeEvent, history: &History, retransmits: Retransmits) -> Cause {
    if REASON_ALERTS.contains(&event.reason) {
        return Cause::AlertReceived;
    }
    if event.reason != 0 && event.reason != REASON_UNEXPECTED_EOF {
        return Cause::LocalError;
    }
    if retransmits.any() {
        return Cause::PacketLoss;
    }
    if event.outcome == outcome::PROCESS_ENDED {
        return Cause::Abandoned;
    }
    if history.reset_received(event.begin_ns, event.header.time_ns) {
        return Cause::Reset;
    }
    if event.reason == REASON_UNEXPECTED_EOF || event.flags & flag::PEER_CLOSED != 0 {
        return Cause::Closed;
    }
    if event.outcome == outcome::FAILED {
        // No error, no retry: end of file, or a socket that died under the read.
        return if event.flags & flag::SOCKET_CLOSED != 0
            || history.reset_sent(event.begin_ns, event.header.time_ns)
        {
            Cause::Reset
        } else {
            Cause::Closed
        };
    }
    Cause::Abandoned
}

/// The cause of a handshake that was seen on the wire alone and did not complete; `how` is a constant of [`end`].
pub(super) const fn of_wire(how: u8, retransmits: Retransmits) -> Cause {
    match how {
        end::ALERT_IN => Cause::AlertReceived,
        end::ALERT_OUT => Cause::AlertSent,
        _ if retransmits.any() => Cause::PacketLoss,
        end::RESET => Cause::Reset,
        end::CLOSED_IN => Cause::Closed,
        _ => Cause::Abandoned,
    }
}
