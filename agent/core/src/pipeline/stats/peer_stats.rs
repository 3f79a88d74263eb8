//! Sums of one peer.

use std::{mem, net::IpAddr};

use enum_map::EnumMap;
use serde::Serialize;

use super::{alerts::AlertReason, merge::Merge, offers::Offers, window::Window};
use crate::model::{FailureCause, Resumption};

/// Sessions between one peer and the servers of this host that packet loss has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SessionsLost {
    /// Sessions never stored: a handshake without an offer failed with packet loss.
    pub never_stored: u64,
    /// Sessions that a server removed because a connection with packet loss ended uncleanly.
    pub forgotten: u64,
    /// Removed sessions that were offered again: full handshakes instead of resumed ones.
    pub missed: u64,
}

/// Completed handshakes of the ratio's window, indexed by whether they resumed.
type RatioWindow = Window<2, 10>;

/// Sums of one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Completed handshakes by resumption.
    pub completed: EnumMap<Resumption, u64>,
    /// Failed handshakes by cause.
    pub failures: EnumMap<FailureCause, u64>,
    /// Handshakes with packet loss.
    pub with_loss: u64,
    /// Full handshakes right after one with packet loss, of a peer that had resumed before.
    pub full_after_loss: u64,
    /// Sessions that packet loss has cost.
    pub sessions_lost: SessionsLost,
    /// The last handshake had packet loss.
    pub(super) last_had_loss: bool,
    /// Recent completed handshakes.
    pub(super) window: RatioWindow,
    /// End of the newest handshake, nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) last_ns: u64,
    /// Until then, handshakes of the window may be missing: the peer may have been evicted after
    /// them.
    pub(super) lacking_until_ns: u64,
    /// Offers and their outcomes.
    pub offers: Offers,
    /// The balancer through which it came last, where a header of the PROXY protocol named it.
    pub balancer: Option<IpAddr>,
    /// The standing alert.
    pub alert: Option<AlertReason>,
}

impl PeerStats {
    /// Adds a completed handshake.
    pub(super) fn complete(&mut self, resumption: Resumption, time_ns: u64, window_ns: u64) {
        let resumed_before = self.completed[Resumption::Resumed] > 0;
        let after_loss = mem::take(&mut self.last_had_loss);
        if after_loss && resumed_before && resumption == Resumption::Full {
            self.full_after_loss += 1;
        }
        self.completed[resumption] += 1;
        if matches!(resumption, Resumption::Full | Resumption::Resumed) {
            let resumed = resumption == Resumption::Resumed;
            self.window.add(usize::from(resumed), time_ns, window_ns);
        }
    }

    /// Resumed share of the handshakes completed in the window that ends at `now_ns`, 0 to 1;
    /// `None` where there are none, or some may be missing.
    pub(super) fn ratio(&self, now_ns: u64, window_ns: u64) -> Option<f64> {
        if now_ns < self.lacking_until_ns {
            return None;
        }
        let [full, resumed] = self.window.sums(now_ns, window_ns);
        (full + resumed > 0).then(|| resumed as f64 / (full + resumed) as f64)
    }

    /// Number of failed handshakes.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Number of handshakes that ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.completed.values().sum::<u64>() + self.failed()
    }
}

impl Merge for PeerStats {
    fn merge(&mut self, other: &Self) {
        self.completed.merge(&other.completed);
        self.failures.merge(&other.failures);
        self.with_loss += other.with_loss;
        self.full_after_loss += other.full_after_loss;
        let (sums, addends) = (&mut self.sessions_lost, &other.sessions_lost);
        sums.never_stored += addends.never_stored;
        sums.forgotten += addends.forgotten;
        sums.missed += addends.missed;
        self.window.merge(&other.window);
        self.offers.merge(&other.offers);
    }
}
