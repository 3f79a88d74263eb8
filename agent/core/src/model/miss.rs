//! Missed sessions.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::{ServiceId, labels::labelled};

/// Reason why an offered session was not resumed, exactly one each.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum MissReason {
    /// A ticket under a key that the service has never used.
    ForeignKey,
    /// A ticket under a key that the service used earlier.
    RetiredKey,
    /// A session ID that the service did not issue.
    ForeignId,
    /// Issued by the service, within its lifetime, no longer in the cache.
    Evicted,
    /// Older than its lifetime.
    Expired,
    /// Removed from the cache before its lifetime ended.
    Removed,
    /// Known and within its lifetime, but rejected.
    Refused,
    /// Not enough evidence.
    Unknown,
}

labelled!(MissReason);

/// One missed session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miss {
    /// Reason of the miss.
    pub reason: MissReason,
    /// Age of the session, nanoseconds, where known.
    pub age_ns: Option<u64>,
    /// Lifetime of the session, nanoseconds, where known.
    pub lifetime_ns: Option<u64>,
    /// The service that missed it; `None` for a client's miss.
    pub service: Option<ServiceId>,
    /// The session was removed at the unclean end of a connection with packet loss.
    pub lossy: bool,
}
