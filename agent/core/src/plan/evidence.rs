//! What each part of a plan is based on, for people.

/// Parts of a plan, each with its evidence.
pub(super) type Evidence = Vec<(&'static str, String)>;
