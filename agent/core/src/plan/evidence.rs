//! Evidence for each part of a plan, as text for people.

/// Parts of a plan, each with its evidence.
pub(super) type Evidence = Vec<(&'static str, String)>;
