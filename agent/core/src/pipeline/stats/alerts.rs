//! Alerts about a peer's misses. An alert begins above a share of the peer's recent offers and ends
//! well below it, so that a share near the threshold does not start and stop it repeatedly.

use super::{
    failed_offers::FailedOffers,
    limits::Thresholds,
    offers::{Offers, RecentOffers},
    outcomes::Outcomes,
};
use crate::model::{MissReason, Role};

/// An alert ends below this part of the threshold at which it begins.
const END_FACTOR: f64 = 0.8;

/// Reason of an alert or of advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertReason {
    /// Sessions were offered and missed, mostly for this reason.
    Missed(MissReason),
    /// Clients return without an offer, and no session is ever offered.
    NeverOffered,
    /// Handshakes fail because a session is offered. There is advice, and no alert.
    FailedOffers,
    /// Clients resume sessions, but most of their connections offer none. There is advice, and no
    /// alert.
    SeldomOffered,
}

impl AlertReason {
    /// Name of the reason.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Missed(reason) => reason.label(),
            Self::NeverOffered => "never_offered",
            Self::FailedOffers => "failed_offers",
            Self::SeldomOffered => "seldom_offered",
        }
    }
}

/// The alert that a peer's recent offers require, given the one that stands.
pub(super) fn evaluate_alert(
    recent: &RecentOffers,
    standing: Option<AlertReason>,
    thresholds: Thresholds,
) -> Option<AlertReason> {
    let missed = recent.missed();
    let offers = missed + recent.accepted;
    let (ratio, minimum) = match standing {
        Some(_) => (
            thresholds.miss_ratio * END_FACTOR,
            thresholds.min_offers.div_ceil(2),
        ),
        None => (thresholds.miss_ratio, thresholds.min_offers),
    };
    let minimum = minimum.max(1);
    if offers >= minimum && missed as f64 > ratio * offers as f64 {
        // The first reason remains while it explains half of the misses.
        let unchanged = match standing {
            Some(AlertReason::Missed(reason)) if recent.misses[reason] * 2 >= missed => {
                Some(reason)
            }
            _ => recent.commonest_miss(),
        };
        return unchanged.map(AlertReason::Missed);
    }
    let never = offers == 0 && recent.returned_without_offer >= minimum;
    never.then_some(AlertReason::NeverOffered)
}

/// Misses with one reason, or returns without an offer, from which on there is advice.
const MIN_MISSES: u64 = 20;
/// How long there is advice after the last miss or failure, nanoseconds.
const ADVICE_NS: u64 = 3_600_000_000_000;

/// The reason for which there is advice without an alert: failures that offers cause, the commonest
/// reason of misses, or clients that seldom offer a session.
pub(super) fn reason_without_alert(
    offers: &Offers,
    failed: Option<FailedOffers>,
    role: Role,
    now_ns: u64,
) -> Option<AlertReason> {
    let is_recent = |last_ns: u64| last_ns.saturating_add(ADVICE_NS) >= now_ns;
    if failed.is_some() && is_recent(offers.failed.last_ns) {
        return Some(AlertReason::FailedOffers);
    }
    let seldom = || is_seldom_offered(offers) && is_recent(offers.last_returned_ns);
    commonest_reason(offers, role, now_ns)
        .or_else(|| seldom().then_some(AlertReason::SeldomOffered))
}

/// Whether clients resume sessions, and most connections of those that were given one offer none.
fn is_seldom_offered(offers: &Offers) -> bool {
    let Outcomes {
        accepted, missed, ..
    } = offers.sums.total();
    accepted > missed
        && offers.returned_without >= MIN_MISSES
        && offers.returned_without > 2 * (accepted + missed)
}

/// The commonest reason of misses that is known. On the client's side, where only the server shows
/// most reasons, it is the commonest one.
fn commonest_reason(offers: &Offers, role: Role, now_ns: u64) -> Option<AlertReason> {
    let last = offers.last_miss?;
    if last.time_ns.saturating_add(ADVICE_NS) < now_ns {
        return None;
    }
    let misses = offers.misses.into_iter();
    let misses = misses
        .filter(|(reason, count)| {
            *count >= MIN_MISSES && (role == Role::Client || *reason != MissReason::Unknown)
        })
        .rev();
    let (reason, _) = misses.max_by_key(|(_, count)| *count)?;
    Some(AlertReason::Missed(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Mechanism, pipeline::stats::offers::LastMiss};

    const THRESHOLDS: Thresholds = Thresholds {
        miss_ratio: 0.9,
        min_offers: 20,
    };
    const EVICTED: Option<AlertReason> = Some(AlertReason::Missed(MissReason::Evicted));

    fn evaluate(recent: RecentOffers, standing: Option<AlertReason>) -> Option<AlertReason> {
        evaluate_alert(&recent, standing, THRESHOLDS)
    }

    fn recent(
        accepted: u64,
        evicted: u64,
        expired: u64,
        returned_without_offer: u64,
    ) -> RecentOffers {
        let mut recent = RecentOffers {
            accepted,
            returned_without_offer,
            ..RecentOffers::default()
        };
        recent.misses[MissReason::Evicted] = evicted;
        recent.misses[MissReason::Expired] = expired;
        recent
    }

    #[test]
    fn begins_above_the_threshold_and_ends_below_it() {
        assert_eq!(evaluate(recent(0, 19, 0, 0), None), None);
        assert_eq!(evaluate(recent(1, 19, 0, 0), None), EVICTED);
        assert_eq!(evaluate(recent(2, 18, 0, 0), None), None);
        assert_eq!(evaluate(recent(3, 17, 0, 0), EVICTED), EVICTED);
        assert_eq!(evaluate(recent(6, 14, 0, 0), EVICTED), None);
        assert_eq!(evaluate(recent(0, 10, 0, 0), EVICTED), EVICTED);
        assert_eq!(evaluate(recent(0, 9, 0, 0), EVICTED), None);
    }

    #[test]
    fn the_reason_is_the_commonest_one_and_remains_while_it_explains_half() {
        let expired = Some(AlertReason::Missed(MissReason::Expired));
        assert_eq!(evaluate(recent(0, 12, 13, 0), None), expired);
        assert_eq!(evaluate(recent(0, 13, 13, 0), EVICTED), EVICTED);
        assert_eq!(evaluate(recent(0, 5, 15, 0), EVICTED), expired);
    }

    #[test]
    fn clients_that_never_offer_have_an_alert_of_their_own() {
        let never = Some(AlertReason::NeverOffered);
        assert_eq!(evaluate(recent(0, 0, 0, 20), None), never);
        assert_eq!(evaluate(recent(0, 0, 0, 10), never), never);
        assert_eq!(evaluate(recent(1, 0, 0, 20), never), None);
    }

    #[test]
    fn advice_needs_twenty_recent_misses_with_one_known_reason() {
        let mut offers = Offers::default();
        offers.misses[MissReason::Unknown] = 100;
        offers.misses[MissReason::OtherProcess] = 19;
        let advised = |offers: &Offers, role| commonest_reason(offers, role, ADVICE_NS + 1);
        assert_eq!(advised(&offers, Role::Server), None, "no miss is known");
        offers.last_miss = Some(LastMiss {
            service: None,
            time_ns: 1,
        });
        assert_eq!(advised(&offers, Role::Server), None, "19 misses");
        let unknown = Some(AlertReason::Missed(MissReason::Unknown));
        assert_eq!(advised(&offers, Role::Client), unknown);
        offers.misses[MissReason::OtherProcess] += 1;
        offers.misses[MissReason::Restarted] = 20;
        let other = Some(AlertReason::Missed(MissReason::OtherProcess));
        assert_eq!(advised(&offers, Role::Server), other);
        assert_eq!(
            commonest_reason(&offers, Role::Server, ADVICE_NS + 2),
            None,
            "the last miss is old"
        );
    }

    #[test]
    fn clients_that_seldom_offer_what_they_were_given_have_advice() {
        let mut offers = Offers::default();
        offers.sums.offered[Mechanism::Psk].accepted = 5;
        offers.returned_without = 19;
        let advised = |offers: &Offers| reason_without_alert(offers, None, Role::Server, 1);
        assert_eq!(advised(&offers), None, "few connections");
        offers.returned_without = 20;
        assert_eq!(advised(&offers), Some(AlertReason::SeldomOffered));
        offers.sums.offered[Mechanism::Psk].accepted = 20;
        assert_eq!(advised(&offers), None, "half of them offer a session");
        offers.sums.offered[Mechanism::Psk].accepted = 0;
        assert_eq!(advised(&offers), None, "no session is resumed");
    }

    #[test]
    fn failures_that_offers_cause_have_advice() {
        let mut offers = Offers::default();
        offers.failed.last_ns = 1;
        let failed = Some(offers.failed);
        let advised = |failed, now_ns| reason_without_alert(&offers, failed, Role::Server, now_ns);
        assert_eq!(advised(None, 1), None, "offers are not the cause");
        assert_eq!(advised(failed, 1), Some(AlertReason::FailedOffers));
        assert_eq!(advised(failed, ADVICE_NS + 2), None, "the last is old");
    }
}
