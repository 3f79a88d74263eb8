//! TCP events by connection: evidence for handshakes that are still to be concluded, and late
//! losses of those that are over.

use super::{
    connection_history::{ConnectionHistories, Span},
    finding::LateLoss,
    late_loss::LateLosses,
};
use crate::model::{Connection, NetworkEvidence, Role, TcpEvent};

/// State of the TCP side of the engine.
#[derive(Debug)]
pub(super) struct Network {
    histories: ConnectionHistories,
    late_losses: LateLosses,
}

impl Network {
    /// At most `max_connections` have a history.
    pub(super) fn new(max_connections: usize) -> Self {
        Self {
            histories: ConnectionHistories::new(max_connections),
            late_losses: LateLosses::new(),
        }
    }

    /// Adds an event; returns the late loss that it shows, if any.
    pub(super) fn insert(&mut self, event: &TcpEvent) -> Option<LateLoss> {
        let detected = self.late_losses.detect(event);
        if !detected.is_some_and(|detected| detected.consumed) {
            self.histories.insert(event, detected.is_some());
        }
        detected.map(|detected| detected.loss)
    }

    /// Evidence about a handshake so far.
    pub(super) fn peek(&self, connection: Option<Connection>, span: &Span) -> NetworkEvidence {
        self.histories.evidence(connection, span)
    }

    /// Evidence about a handshake that is concluded now. Consumes its events.
    pub(super) fn conclude(
        &mut self,
        role: Role,
        connection: Option<Connection>,
        span: &Span,
    ) -> NetworkEvidence {
        let evidence = self.histories.evidence(connection, span);
        if let Some(connection) = connection {
            self.histories.consume(&connection, span.end_ns);
            if span.completed {
                let had_loss = evidence.lost_segments() > 0;
                self.late_losses
                    .completed(role, &connection, span.end_ns, had_loss);
            } else {
                self.late_losses.failed(role, &connection);
            }
        }
        evidence
    }

    /// Whether this connection had packet loss until then.
    pub(super) fn had_loss(&self, connection: &Connection, until_ns: u64) -> bool {
        self.late_losses.had_loss(connection) || self.histories.had_loss(connection, until_ns)
    }

    /// Whether the peer had reset this connection by then.
    pub(super) fn was_reset_by_peer(&self, connection: &Connection, until_ns: u64) -> bool {
        self.histories.was_reset_by_peer(connection, until_ns)
    }

    /// Connections with a history.
    pub(super) fn len(&self) -> usize {
        self.histories.len()
    }

    /// Histories evicted before a handshake consumed them.
    pub(super) const fn evicted(&self) -> u64 {
        self.histories.evicted()
    }
}
