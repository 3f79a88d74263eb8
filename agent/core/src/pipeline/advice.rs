//! Advice about missed sessions, in one sentence, for log lines and pages. Pure.

mod text;

use self::text::Case;
use crate::{
    model::Evidence,
    pipeline::{
        Pipeline,
        stats::{AlertReason, PeerKey, PeerStats},
    },
};

/// Advice about the misses of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Reason of the alert, or the commonest reason.
    pub reason: AlertReason,
    /// Cause and remedy.
    pub text: String,
    /// Evidence of the newest miss with this reason; `None` if it was evicted.
    pub evidence: Option<Evidence>,
}

/// Advice for a peer with an alert, with failures that offers cause, with about twenty misses for
/// one reason, or whose sessions are seldom offered; `None` for others.
#[must_use]
pub fn advice(pipeline: &Pipeline, key: &PeerKey, sums: &PeerStats) -> Option<Advice> {
    let stats = &pipeline.stats;
    let reason = stats.advice_reason(key, sums, pipeline.now_ns())?;
    let example = match reason {
        AlertReason::Missed(reason) => stats.miss_examples.get(key, reason),
        AlertReason::NeverOffered | AlertReason::FailedOffers | AlertReason::SeldomOffered => None,
    };
    let missed_by = match example {
        Some(example) => example.miss.service,
        None => sums.offers.last_miss.and_then(|last| last.service),
    };
    let service = missed_by.map(|service| pipeline.service(service));
    let failed_offers = stats.failed_offers(sums).unwrap_or_default();
    let case = Case {
        reason,
        role: key.role,
        miss: example.map(|example| example.miss),
        ticket_key: example.and_then(|example| example.key),
        offers: sums.offers.sums.total(),
        failed_offers,
        failed_offers_of_server: failed_offers != sums.offers.failed,
        returned_without: sums.offers.returned_without,
        given_before: sums.offers.given_before,
        service: service.unwrap_or_default(),
        clock: pipeline.clock,
    };
    Some(Advice {
        reason,
        text: text::text(&case),
        evidence: case.miss.map(|miss| miss.evidence),
    })
}
