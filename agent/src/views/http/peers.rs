//! Rows of `/api/v1/peers`: the sums of one peer.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;

use crate::observed::Observed;
use reprise_core::{
    model::Resumption,
    pipeline::{
        advice::{Advice, advice},
        stats::{Outcomes, PeerKey, PeerStats, SessionsLost},
    },
};

/// One peer.
#[derive(Debug, Serialize)]
pub(super) struct PeerRow {
    peer: String,
    role: &'static str,
    /// The balancer through which it came last, where a header of the PROXY protocol named it.
    via: Option<IpAddr>,
    full: u64,
    resumed: u64,
    /// Completed handshakes whose resumption is not known.
    unknown: u64,
    /// Resumed share over the window; null without a handshake whose resumption is known.
    resume_ratio: Option<f64>,
    failures: BTreeMap<&'static str, u64>,
    /// Handshakes with packet loss.
    with_loss: u64,
    /// Full handshakes right after one with packet loss, of a peer that had resumed before.
    full_after_loss: u64,
    /// Sessions that packet loss has cost.
    sessions_lost: SessionsLost,
    /// Offered sessions by mechanism.
    offers: BTreeMap<&'static str, Offered>,
    /// Completed handshakes without an offer.
    not_offered: u64,
    /// Missed offers by diagnosed reason.
    misses: BTreeMap<&'static str, u64>,
    /// The standing alert.
    alert: Option<Alert>,
    /// Advice, with an alert or from about twenty misses with one reason on.
    advice: Option<AdviceRow>,
}

#[derive(Debug, Serialize)]
struct Offered {
    accepted: u64,
    missed: u64,
    failed: u64,
}

impl From<Outcomes> for Offered {
    fn from(outcomes: Outcomes) -> Self {
        Self {
            accepted: outcomes.accepted,
            missed: outcomes.missed,
            failed: outcomes.failed,
        }
    }
}

#[derive(Debug, Serialize)]
struct Alert {
    /// A miss reason, or `never_offered`.
    reason: &'static str,
    /// Cause and remedy.
    advice: String,
}

#[derive(Debug, Serialize)]
struct AdviceRow {
    /// A miss reason, `never_offered`, `failed_offers` or `seldom_offered`.
    reason: &'static str,
    /// Cause and remedy.
    text: String,
    /// Rule and facts behind the newest miss, if it has this reason.
    evidence: Option<String>,
}

impl From<Advice> for AdviceRow {
    fn from(advice: Advice) -> Self {
        Self {
            reason: advice.reason.label(),
            text: advice.text,
            evidence: advice.evidence.map(|evidence| evidence.to_string()),
        }
    }
}

/// Handshakes of a peer that were not resumed.
pub(super) fn not_resumed(sums: &PeerStats) -> u64 {
    sums.completed[Resumption::Full] + sums.failed()
}

pub(super) fn row(observed: &Observed, key: &PeerKey, sums: &PeerStats) -> PeerRow {
    let pipeline = &observed.pipeline;
    let failures = sums.failures.into_iter().filter(|(_, count)| *count > 0);
    let advice = advice(pipeline, key, sums);
    let offers = sums.offers.sums.offered.into_iter();
    let offers = offers.filter(|(_, outcomes)| outcomes.total() > 0);
    let misses = sums.offers.misses.into_iter();
    let misses = misses.filter(|(_, count)| *count > 0);
    PeerRow {
        peer: key.peer.to_string(),
        role: key.role.label(),
        via: sums.balancer,
        full: sums.completed[Resumption::Full],
        resumed: sums.completed[Resumption::Resumed],
        unknown: sums.completed[Resumption::Unknown],
        resume_ratio: pipeline.stats.peers.ratio(sums, pipeline.now_ns()),
        failures: failures
            .map(|(cause, count)| (cause.label(), count))
            .collect(),
        with_loss: sums.with_loss,
        full_after_loss: sums.full_after_loss,
        sessions_lost: sums.sessions_lost,
        offers: offers
            .map(|(mechanism, outcomes)| (mechanism.label(), outcomes.into()))
            .collect(),
        not_offered: sums.offers.sums.not_offered,
        misses: misses
            .map(|(reason, count)| (reason.label(), count))
            .collect(),
        alert: sums.alert.map(|reason| Alert {
            reason: reason.label(),
            advice: advice
                .as_ref()
                .map_or_else(String::new, |advice| advice.text.clone()),
        }),
        advice: advice.map(AdviceRow::from),
    }
}
