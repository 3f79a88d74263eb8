//! Changes that a change of the hit ratio may follow.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::{KeyName, ServiceId, labels::labelled};

/// Kind of a change.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum ChangeKind {
    /// The agent began to observe.
    Agent,
    /// All processes of a service were replaced.
    ServiceReplaced,
    /// A process of a service that used another ticket key before began to use this one.
    TicketKey,
    /// The wall clock of the host was stepped.
    ClockStep,
}

labelled!(ChangeKind);

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeDetail {
    /// The agent began to observe.
    Agent,
    /// One of the processes that replaced those of the service.
    ServiceReplaced {
        /// Its process ID.
        tgid: u32,
    },
    /// A new ticket key came into use.
    TicketKey {
        /// Name of the key.
        key: KeyName,
    },
    /// The host's clock was stepped.
    ClockStep {
        /// Forward if positive, nanoseconds.
        step_ns: i64,
    },
}

impl ChangeDetail {
    /// Kind of the change.
    #[must_use]
    pub const fn kind(&self) -> ChangeKind {
        match self {
            Self::Agent => ChangeKind::Agent,
            Self::ServiceReplaced { .. } => ChangeKind::ServiceReplaced,
            Self::TicketKey { .. } => ChangeKind::TicketKey,
            Self::ClockStep { .. } => ChangeKind::ClockStep,
        }
    }
}

/// A change of one service, or of the whole host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When it took effect, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The service; `None` for all of the host.
    pub service: Option<ServiceId>,
    /// What changed.
    pub detail: ChangeDetail,
}
