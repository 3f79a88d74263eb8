//! Outcome of early data.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::labels::labelled;

/// What became of the early data that a client offered (RFC 8446, section 2.3).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum EarlyDataOutcome {
    /// The server accepted it.
    Accepted,
    /// The server rejected it.
    Rejected,
}

labelled!(EarlyDataOutcome);
