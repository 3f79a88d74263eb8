//! Missed sessions.

use super::{Evidence, MissReason, ServiceId};

/// One missed session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miss {
    /// Reason of the miss.
    pub reason: MissReason,
    /// The rule that decided, with the facts it used.
    pub evidence: Evidence,
    /// Age of the session, nanoseconds, where known.
    pub age_ns: Option<u64>,
    /// Lifetime of the session, nanoseconds, where known.
    pub lifetime_ns: Option<u64>,
    /// The service that missed it, where it is on this host.
    pub service: Option<ServiceId>,
    /// The session was removed at the unclean end of a connection with packet loss.
    pub lossy: bool,
}
