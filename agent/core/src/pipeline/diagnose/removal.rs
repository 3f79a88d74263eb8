//! Sessions removed from a server's cache before their time.

use super::tables::Tables;
use crate::model::{Connection, Removal, RemovalContext, SessionRemoved};

/// `SSL_R_UNEXPECTED_EOF_WHILE_READING` (include/openssl/sslerr.h): the peer closed without
/// `close_notify`.
const UNEXPECTED_EOF: u32 = 294;

/// What TCP did on a connection until a session was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CloseEvidence {
    /// The peer reset the connection.
    pub reset_by_peer: bool,
    /// The connection had packet loss.
    pub loss: bool,
}

/// A session that was removed from a cache before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovedSession {
    /// Cause of the removal.
    pub removal: Removal,
    /// The connection that ended uncleanly and had packet loss, where that was the cause.
    pub cut: Option<Connection>,
}

impl Tables {
    pub(super) fn session_removed(
        &mut self,
        event: &SessionRemoved,
        close: impl FnOnce(&Connection) -> CloseEvidence,
    ) -> Option<RemovedSession> {
        let hash = event.id?;
        let library_only = self.sessions.is_library_only(hash);
        let issued = self.sessions.get(hash).copied()?;
        // A client on the same host removes the same session.
        if issued.removed.is_some() || issued.used_up {
            return None;
        }
        match self.services.is_served_by(issued.service, event.tgid) {
            Some(true) => {}
            Some(false) => return None,
            // Its server may have removed it: nothing is known of it from here on.
            None => {
                self.sessions.remove(hash);
                return None;
            }
        }
        let close = issued.connection.map(|connection| close(&connection));
        let close = close.unwrap_or_default();
        let removal = match event.context {
            RemovalContext::Handshake if self.is_expired(event, issued.service) => Removal::Expired,
            RemovalContext::Handshake => Removal::Unknown,
            RemovalContext::Freeing => unclean_close(event, close),
            RemovalContext::Other => removed_elsewhere(event, close),
        };
        let unclean = matches!(
            removal,
            Removal::UncleanCloseByPeer | Removal::UncleanCloseByServer
        );
        let lossy = close.loss && (unclean || event.context == RemovalContext::Freeing);
        let cut = issued.connection.filter(|_| lossy);
        if let Some(issued) = self.sessions.get_mut(hash) {
            issued.removed = Some((event.time_ns, removal));
            issued.lossy = cut.is_some();
        }
        // A TLS 1.3 session is a cache entry only if its tickets are session IDs, and a server that
        // allows each to be used once removes it when it accepts it.
        let entry = !library_only || self.services.get(issued.service).stateful;
        let single_use = library_only
            && event.context == RemovalContext::Handshake
            && removal == Removal::Unknown;
        let is_lost = entry && !single_use;
        if is_lost && removal != Removal::Expired {
            let service = self.services.root(issued.service);
            self.sizing.remove(service, hash);
        }
        is_lost.then_some(RemovedSession { removal, cut })
    }

    fn is_expired(&self, event: &SessionRemoved, service: crate::model::ServiceId) -> bool {
        let state = self.services.get(service);
        let offset_ns = state.clock.offset_ns().or(self.wall_minus_monotonic_ns);
        let wall_ns = offset_ns.and_then(|offset| event.time_ns.checked_add_signed(offset));
        let created = event.age.created_ns.zip(wall_ns);
        created.is_some_and(|(created_ns, wall_ns)| {
            wall_ns.saturating_sub(created_ns) >= event.age.lifetime_ns.unwrap_or(u64::MAX)
        })
    }
}

/// Cause of a removal outside `SSL_free` and handshakes: OpenSSL itself removes a session after an
/// error of its connection, and the application may at any time.
const fn removed_elsewhere(event: &SessionRemoved, close: CloseEvidence) -> Removal {
    match event.reason {
        Some(UNEXPECTED_EOF) => Removal::UncleanCloseByPeer,
        _ if close.reset_by_peer => Removal::UncleanCloseByPeer,
        None if event.reason_observed => Removal::Application,
        _ => Removal::Unknown,
    }
}

/// The side that ended a connection uncleanly: OpenSSL removes a session when it frees a connection
/// on which this side has not sent `close_notify`, and only a reset or a lost connection excuses
/// that.
const fn unclean_close(event: &SessionRemoved, close: CloseEvidence) -> Removal {
    match event.peer_closed_cleanly {
        _ if close.reset_by_peer => Removal::UncleanCloseByPeer,
        Some(true) => Removal::UncleanCloseByServer,
        _ if close.loss => Removal::UncleanCloseByPeer,
        Some(false) => Removal::UncleanCloseByServer,
        None => Removal::Unknown,
    }
}
