//! When a peer's misses are an alert: it begins beyond a share of its recent offers, and ends well below it, so that a share that
//! hovers about the threshold does not make it come and go.

use super::offers::Recent;
use crate::model::MissReason as Reason;

/// An alert ends at this part of what begins it.
const ENDS_AT: f64 = 0.8;

/// When alerts begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Missed share of offers, 0 to 1.
    pub miss_ratio: f64,
    /// Offers, or handshakes without one, in the window.
    pub min_offers: u64,
}

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Sessions were offered and missed, mostly for this reason.
    Missed(Reason),
    /// No session is ever offered.
    NeverOffered,
}

impl Topic {
    /// Name of the reason.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Missed(reason) => reason.label(),
            Self::NeverOffered => "never_offered",
        }
    }
}

/// What the recent handshakes of a peer call for, given what stands.
pub(super) fn judge(
    recent: &Recent,
    standing: Option<Topic>,
    thresholds: Thresholds,
) -> Option<Topic> {
    let missed = recent.missed();
    let offers = missed + recent.accepted;
    let (ratio, least) = match standing {
        Some(_) => (
            thresholds.miss_ratio * ENDS_AT,
            thresholds.min_offers.div_ceil(2),
        ),
        None => (thresholds.miss_ratio, thresholds.min_offers),
    };
    let least = least.max(1);
    if offers >= least && missed as f64 > ratio * offers as f64 {
        // The reason that it began with stays as long as it happens at all.
        let kept = match standing {
            Some(Topic::Missed(reason)) if recent.misses[reason as usize] * 2 >= missed => {
                Some(reason)
            }
            _ => recent.commonest(),
        };
        return kept.map(Topic::Missed);
    }
    (offers == 0 && recent.not_offered >= least).then_some(Topic::NeverOffered)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        miss_ratio: 0.9,
        min_offers: 20,
    };

    fn recent(accepted: u64, evicted: u64, expired: u64, not_offered: u64) -> Recent {
        let mut misses = [0; Reason::ALL.len()];
        misses[Reason::Evicted as usize] = evicted;
        misses[Reason::Expired as usize] = expired;
        Recent {
            accepted,
            misses,
            not_offered,
        }
    }

    #[test]
    fn begins_beyond_the_threshold_and_ends_below_it() {
        let evicted = Some(Topic::Missed(Reason::Evicted));
        assert_eq!(judge(&recent(0, 19, 0, 0), None, THRESHOLDS), None);
        assert_eq!(judge(&recent(1, 19, 0, 0), None, THRESHOLDS), evicted);
        assert_eq!(judge(&recent(2, 18, 0, 0), None, THRESHOLDS), None);
        assert_eq!(judge(&recent(3, 17, 0, 0), evicted, THRESHOLDS), evicted);
        assert_eq!(judge(&recent(6, 14, 0, 0), evicted, THRESHOLDS), None);
        assert_eq!(judge(&recent(0, 10, 0, 0), evicted, THRESHOLDS), evicted);
        assert_eq!(judge(&recent(0, 9, 0, 0), evicted, THRESHOLDS), None);
    }

    #[test]
    fn the_reason_is_the_commonest_one_and_stays_while_it_is_half() {
        let evicted = Some(Topic::Missed(Reason::Evicted));
        let expired = Some(Topic::Missed(Reason::Expired));
        assert_eq!(judge(&recent(0, 12, 13, 0), None, THRESHOLDS), expired);
        assert_eq!(judge(&recent(0, 13, 13, 0), evicted, THRESHOLDS), evicted);
        assert_eq!(judge(&recent(0, 5, 15, 0), evicted, THRESHOLDS), expired);
    }

    #[test]
    fn clients_that_never_offer_are_told_apart() {
        let never = Some(Topic::NeverOffered);
        assert_eq!(judge(&recent(0, 0, 0, 20), None, THRESHOLDS), never);
        assert_eq!(judge(&recent(0, 0, 0, 10), never, THRESHOLDS), never);
        assert_eq!(judge(&recent(1, 0, 0, 20), never, THRESHOLDS), None);
    }
}
