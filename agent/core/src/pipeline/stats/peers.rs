//! Sums per peer: the most recently active ones by name, all others as `other`. A peer that falls out takes nothing with it:
//! its sums go to `other`, so that the sum over peers stays the total.

use std::num::NonZeroUsize;

use lru::LruCache;
use serde::Serialize;

use super::{
    ByRole, Limits, Thresholds, Topic, Window, alert,
    offers::{Offers, Recent},
};
use crate::model::{FailureCause as Cause, Resumption, Role};
use crate::pipeline::peers::Peer;

/// A peer in one role of the observed process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey {
    /// Role of the observed process.
    pub role: Role,
    /// The other side.
    pub peer: Peer,
}

/// Sessions of one peer that loss has cost it, by this host's own servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SessionsLost {
    /// Never stored: the handshake, which offered none, failed of loss.
    pub never_stored: u64,
    /// Forgotten: the connection met loss and ended uncleanly.
    pub forgotten: u64,
    /// Of those forgotten, offered again: full handshakes that would have been resumptions.
    pub missed: u64,
}

/// Sums of one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Completed handshakes by resumption.
    pub completed: [u64; Resumption::ALL.len()],
    /// Failed handshakes by cause.
    pub failures: [u64; Cause::ALL.len()],
    /// Handshakes that met loss.
    pub with_loss: u64,
    /// Full handshakes right after one that met loss, of a peer that had resumed before.
    pub full_after_loss: u64,
    /// What loss has cost in sessions.
    pub sessions_lost: SessionsLost,
    /// The last handshake met loss.
    pub lossy: bool,
    /// Recent completed handshakes: full, resumed.
    pub window: Window<2, 10>,
    /// What became of its offers.
    pub offers: Offers,
    /// The alert that stands.
    pub alert: Option<Topic>,
}

/// An alert that began, ended or changed its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub key: PeerKey,
    /// What stood.
    pub before: Option<Topic>,
    /// What stands.
    pub after: Option<Topic>,
}

impl PeerStats {
    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.completed.iter_mut().zip(other.completed) {
            *mine += theirs;
        }
        for (mine, theirs) in self.failures.iter_mut().zip(other.failures) {
            *mine += theirs;
        }
        self.with_loss += other.with_loss;
        self.full_after_loss += other.full_after_loss;
        let (mine, theirs) = (&mut self.sessions_lost, &other.sessions_lost);
        mine.never_stored += theirs.never_stored;
        mine.forgotten += theirs.forgotten;
        mine.missed += theirs.missed;
        self.window.merge(&other.window);
        self.offers.merge(&other.offers);
    }
}

/// See the module.
#[derive(Debug)]
pub struct PeerTable {
    named: LruCache<PeerKey, PeerStats>,
    other: ByRole<PeerStats>,
    evicted: u64,
    window_ns: u64,
    thresholds: Thresholds,
}

impl PeerTable {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            named: LruCache::new(NonZeroUsize::new(limits.max_peers).unwrap_or(NonZeroUsize::MIN)),
            other: Default::default(),
            evicted: 0,
            window_ns: limits.window_ns,
            thresholds: limits.thresholds,
        }
    }

    pub(super) fn completed(
        &mut self,
        key: PeerKey,
        resumption: Resumption,
        time_ns: u64,
    ) -> &mut PeerStats {
        let window_ns = self.window_ns;
        let stats = self.touch(key);
        let resumes = stats.completed[Resumption::Resumed as usize] > 0;
        let lossy = std::mem::take(&mut stats.lossy);
        if lossy && resumes && resumption == Resumption::Full {
            stats.full_after_loss += 1;
        }
        stats.completed[resumption as usize] += 1;
        if resumption != Resumption::Unknown {
            stats.window.add(resumption as usize, time_ns, window_ns);
        }
        stats
    }

    pub(super) fn failed(&mut self, key: PeerKey, cause: Cause) -> &mut PeerStats {
        let stats = self.touch(key);
        stats.failures[cause as usize] += 1;
        stats
    }

    /// A session of this peer was forgotten for loss.
    pub(super) fn forgot(&mut self, key: PeerKey) {
        self.touch(key).sessions_lost.forgotten += 1;
    }

    /// A handshake with this peer, just observed, met loss.
    pub(super) fn lost(&mut self, key: PeerKey) {
        let stats = self.touch(key);
        stats.with_loss += 1;
        stats.lossy = true;
    }

    fn touch(&mut self, key: PeerKey) -> &mut PeerStats {
        if !self.named.contains(&key)
            && self.named.len() == self.named.cap().get()
            && let Some((oldest, stats)) = self.named.pop_lru()
        {
            self.other[oldest.role as usize].merge(&stats);
            self.evicted += 1;
        }
        self.named.get_or_insert_mut(key, PeerStats::default)
    }

    /// Named peers, most recently active first.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerKey, &PeerStats)> {
        self.named.iter()
    }

    /// Sums of the peers that are not named, by role.
    #[must_use]
    pub const fn other(&self) -> &ByRole<PeerStats> {
        &self.other
    }

    /// Resumed ÷ completed of one peer in the window that ends at `now_ns`.
    #[must_use]
    pub fn ratio(&self, stats: &PeerStats, now_ns: u64) -> Option<f64> {
        let [full, resumed] = stats.window.sums(now_ns, self.window_ns);
        (full + resumed > 0).then(|| resumed as f64 / (full + resumed) as f64)
    }

    /// What became of one peer's offers in the window that ends at `now_ns`.
    #[must_use]
    pub fn recent(&self, stats: &PeerStats, now_ns: u64) -> Recent {
        stats.offers.recent(now_ns, self.window_ns)
    }

    /// Begins and ends alerts, as of `now_ns`; returns what changed. Only named peers have any.
    pub fn judge(&mut self, now_ns: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for (key, stats) in self.named.iter_mut() {
            let recent = stats.offers.recent(now_ns, self.window_ns);
            let (before, after) = (
                stats.alert,
                alert::judge(&recent, stats.alert, self.thresholds),
            );
            if before != after {
                stats.alert = after;
                changes.push(Change {
                    key: key.clone(),
                    before,
                    after,
                });
            }
        }
        changes
    }

    /// One peer's sums.
    #[must_use]
    pub fn get(&self, key: &PeerKey) -> Option<&PeerStats> {
        self.named.peek(key)
    }

    /// Named peers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// Whether no peer is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Peers that went to `other` for room.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> PeerKey {
        PeerKey {
            role: Role::Server,
            peer: Peer::Network(format!("127.0.0.{last}/32").parse().unwrap()),
        }
    }

    #[test]
    fn the_least_recent_peer_goes_to_other_and_sums_stay() {
        let mut table = PeerTable::new(Limits {
            max_peers: 2,
            max_workloads: 2,
            window_ns: 1_000,
            thresholds: Thresholds {
                miss_ratio: 1.0,
                min_offers: 1,
            },
        });
        table.completed(key(1), Resumption::Full, 10);
        table.completed(key(2), Resumption::Resumed, 11);
        table.failed(key(1), Cause::Reset);
        table.completed(key(3), Resumption::Full, 12);
        let names: Vec<_> = table.iter().map(|(key, _)| key.peer.to_string()).collect();
        assert_eq!(names, ["127.0.0.3", "127.0.0.1"]);
        let other = &table.other()[Role::Server as usize];
        assert_eq!(other.completed, [0, 1, 0]);
        assert_eq!(table.ratio(other, 12), Some(1.0));
        assert_eq!(table.evicted(), 1);
        let total: u64 = table.iter().map(|(_, stats)| stats.completed[0]).sum();
        assert_eq!(total, 2);
    }

    #[test]
    fn a_full_handshake_after_loss_counts_for_peers_that_resume() {
        let mut table = PeerTable::new(Limits {
            max_peers: 2,
            max_workloads: 2,
            window_ns: 1_000,
            thresholds: Thresholds {
                miss_ratio: 1.0,
                min_offers: 1,
            },
        });
        let seen = |table: &PeerTable| {
            let (_, stats) = table.iter().next().unwrap();
            (stats.with_loss, stats.full_after_loss)
        };
        table.lost(key(1));
        table.completed(key(1), Resumption::Full, 10);
        assert_eq!(
            seen(&table),
            (1, 0),
            "nothing says that it would have resumed"
        );
        table.completed(key(1), Resumption::Resumed, 11);
        table.completed(key(1), Resumption::Full, 12);
        table.lost(key(1));
        table.completed(key(1), Resumption::Full, 13);
        table.completed(key(1), Resumption::Full, 14);
        assert_eq!(seen(&table), (2, 1));
    }
}
