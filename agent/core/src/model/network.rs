//! TCP evidence of one handshake.

use super::Retransmits;

/// What TCP did on a handshake's connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkEvidence {
    /// Retransmissions during connection set-up and handshake.
    pub retransmits: Retransmits,
    /// Those of [`Self::retransmits`] that were reported as late losses before the handshake ended.
    pub counted: Retransmits,
    /// Those of [`Self::retransmits`] whose sender waited for less than a round trip: no evidence
    /// of loss.
    pub needless: u32,
    /// Segments that arrived beyond a gap in the stream, or that did not acknowledge data sent more
    /// than a round trip before.
    pub missing: u32,
    /// Records that continued, and ClientHellos that arrived at a waiting server, after at least
    /// one retransmission timeout of silence.
    pub stalls: u32,
    /// Resets received during the handshake.
    pub resets_received: u32,
    /// Resets sent during the handshake.
    pub resets_sent: u32,
    /// The peer closed or reset the connection before the handshake ended.
    pub closed_by_peer: bool,
    /// Smoothed round-trip time, microseconds; `None` where TCP has not measured it.
    pub rtt_us: Option<u32>,
}

impl NetworkEvidence {
    /// Whether packets were lost, as far as this end can observe.
    #[must_use]
    pub fn loss(&self) -> bool {
        self.lost_segments() > 0 || self.missing > 0 || self.stalls > 0
    }

    /// Retransmissions that are evidence of loss.
    #[must_use]
    pub fn lost_segments(&self) -> u32 {
        self.retransmits.total().saturating_sub(self.needless)
    }
}
