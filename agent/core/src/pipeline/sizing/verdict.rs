//! Whether the evidence suffices for advice: wrong advice is worse than none.

use serde::{Deserialize, Serialize};

use super::analysis::Analysis;

/// Maximum share of the offers whose session the simulation does not know.
const MAX_UNKNOWN: f64 = 0.05;
/// Maximum share of the offers that are missed for reasons other than size and lifetime.
const MAX_OTHERWISE: f64 = 0.05;
/// Maximum difference between the hit ratio of the present cache and its prediction.
const MAX_ERROR: f64 = 0.1;

/// Verdict on the present cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The evidence does not suffice.
    #[default]
    Unknown,
    /// No other cache brings much more than the present one.
    Sufficient,
    /// Another cache brings more.
    Change,
}

/// What prevents advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// The service has stored no session: its clients resume by ticket, or not at all.
    NoCache,
    /// The lifetime of its sessions is not known.
    LifetimeUnknown,
    /// The observation is shorter than the lifetime: no session can have expired.
    ObservedTooBriefly,
    /// Too few offers since then.
    TooFewOffers,
    /// Many clients offer sessions that were not stored during the observation: they stay away for
    /// longer, come from other nodes, or invent them.
    UnknownSessions,
    /// Many offers are missed for reasons other than size and lifetime.
    OtherCauses,
    /// No session was resumed, so that the cache may not be in use, or not be shared.
    NothingResumed,
    /// The present cache does not work as the simulated ones do: it is one per process, or offers
    /// are missed for reasons that the agent does not know.
    PredictionFails,
}

impl Obstacle {
    /// The obstacle in plain words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoCache => "the service stores no sessions",
            Self::LifetimeUnknown => "the lifetime of its sessions is not known",
            Self::ObservedTooBriefly => "it was observed for less than the lifetime of a session",
            Self::TooFewOffers => "fewer than 400 offers were observed",
            Self::UnknownSessions => {
                "many clients offer sessions that were not stored during the observation"
            }
            Self::OtherCauses => {
                "many offers are missed for reasons other than size and lifetime: remove these first"
            }
            Self::NothingResumed => {
                "no session was resumed: make sure that the cache is in use and shared"
            }
            Self::PredictionFails => {
                "the present cache does not work as predicted: each process may have its own"
            }
        }
    }
}

impl Analysis {
    /// What prevents advice; `None` if the evidence suffices.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        let present = self.present_row();
        let offers = (self.sums.accepted + self.sums.missed) as f64;
        if self.lifetime_s().is_none() {
            return Some(Obstacle::LifetimeUnknown);
        }
        if !present.is_warm {
            return Some(Obstacle::ObservedTooBriefly);
        }
        if !present.is_sufficient() {
            return Some(Obstacle::TooFewOffers);
        }
        if self.unknown_share().is_none_or(|share| share > MAX_UNKNOWN) {
            return Some(Obstacle::UnknownSessions);
        }
        if self.sums.missed_otherwise as f64 > MAX_OTHERWISE * offers {
            return Some(Obstacle::OtherCauses);
        }
        if !self.has_accepted() {
            return Some(Obstacle::NothingResumed);
        }
        let predicted = self.predicted().zip(present.reached);
        let is_wrong = predicted.is_some_and(|(one, other)| (one - other).abs() > MAX_ERROR);
        (is_wrong || self.is_contradictory()).then_some(Obstacle::PredictionFails)
    }
}
