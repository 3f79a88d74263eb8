//! Reasons of missed sessions.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::labels::labelled;

/// Reason why an offered session was not resumed, exactly one each; `diagnose` holds the rules.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum MissReason {
    /// The service issues sessions that it does not store.
    NotStored,
    /// Issued by, or under a key of, another live process of the same service.
    OtherProcess,
    /// The process that issued it has ended, and its cache or keys with it.
    Restarted,
    /// Issued by the service, within its lifetime, at a rank at which a cache can be full.
    Evicted,
    /// Older than its lifetime.
    Expired,
    /// Removed from the cache after an unclean close or by the application.
    Removed,
    /// Known and within its lifetime, but rejected for its version, name, cipher or context.
    Refused,
    /// A session ID that another service issued.
    ForeignId,
    /// A ticket under a key that the service has never used, where that can be known.
    ForeignKey,
    /// A ticket under a key that the whole service has stopped using.
    RetiredKey,
    /// The server's clock was stepped after the session was issued.
    Clock,
    /// Not enough evidence.
    Unknown,
}

labelled!(MissReason);
