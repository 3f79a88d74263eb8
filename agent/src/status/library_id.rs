//! Identity of a library file.

use serde::{Deserialize, Serialize};

/// Identifies a library file from its discovery until no process uses it. IDs are never reused.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LibraryId(pub u64);
