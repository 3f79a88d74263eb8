//! Explanations of a peer's misses: the commonest reasons, each with the rule and the evidence of
//! its newest miss.

use std::cmp::Reverse;

use super::{
    miss_examples::{MAX_REASONS, MissExample, MissExamples},
    peer_key::PeerKey,
    peer_stats::PeerStats,
};
use crate::model::MissReason;

/// Explanation of the misses of one peer with one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The reason.
    pub reason: MissReason,
    /// Misses with this reason; never 0.
    pub count: u64,
    /// The newest miss; `None` if it was evicted.
    pub example: Option<MissExample>,
}

/// At most [`MAX_REASONS`] explanations of a peer's misses, the commonest reason first; of equally
/// common ones the more specific one, which is declared first.
pub(super) fn explanations(
    examples: &MissExamples,
    key: &PeerKey,
    sums: &PeerStats,
) -> Vec<Explanation> {
    let misses = sums.offers.misses.into_iter();
    let mut explanations: Vec<_> = misses
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| Explanation {
            reason,
            count,
            example: examples.get(key, reason).copied(),
        })
        .collect();
    explanations.sort_by_key(|explanation| Reverse(explanation.count));
    explanations.truncate(MAX_REASONS);
    explanations
}
