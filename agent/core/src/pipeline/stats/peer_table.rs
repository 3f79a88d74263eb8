//! Table of peers.

use std::net::IpAddr;

use super::{
    alerts::{self, AlertReason},
    by_role::ByRole,
    frequent_table::FrequentTable,
    limits::{Limits, Thresholds},
    peer_key::PeerKey,
    peer_stats::PeerStats,
};
use crate::model::{FailureCause, Resumption};

/// An alert that began, ended or changed its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertChange {
    /// The peer.
    pub key: PeerKey,
    /// Reason before the change.
    pub before: Option<AlertReason>,
    /// Reason after the change.
    pub after: Option<AlertReason>,
}

/// Sums of the most frequent peers; those of the others are added up.
#[derive(Debug)]
pub struct PeerTable {
    table: FrequentTable<PeerKey, PeerStats, ByRole<PeerStats>>,
    /// Time of the newest handshake.
    newest_ns: u64,
    /// Time of the last eviction.
    evicted_ns: Option<u64>,
    forgotten: u64,
    window_ns: u64,
    thresholds: Thresholds,
}

impl PeerTable {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            table: FrequentTable::new(limits.max_peers),
            newest_ns: 0,
            evicted_ns: None,
            forgotten: 0,
            window_ns: limits.window_ns,
            thresholds: limits.thresholds,
        }
    }

    /// Adds a completed handshake.
    pub(super) fn record_completed(
        &mut self,
        key: PeerKey,
        resumption: Resumption,
        time_ns: u64,
    ) -> &mut PeerStats {
        let window_ns = self.window_ns;
        let stats = self.entry(key, time_ns);
        stats.complete(resumption, time_ns, window_ns);
        stats
    }

    /// Adds a failed handshake.
    pub(super) fn record_failed(
        &mut self,
        key: PeerKey,
        cause: FailureCause,
        time_ns: u64,
    ) -> &mut PeerStats {
        let stats = self.entry(key, time_ns);
        stats.failures[cause] += 1;
        stats
    }

    /// Adds a session that a server removed because of packet loss.
    pub(super) fn record_cut_session(&mut self, key: PeerKey) {
        self.entry(key, 0).sessions_lost.forgotten += 1;
    }

    /// Sets the balancer through which a peer came last.
    pub(super) fn record_balancer(&mut self, key: PeerKey, balancer: IpAddr) {
        self.entry(key, 0).balancer = Some(balancer);
    }

    /// Adds packet loss to the handshake that was recorded last for this peer.
    pub(super) fn record_loss(&mut self, key: PeerKey) {
        let stats = self.entry(key, 0);
        stats.with_loss += 1;
        stats.last_had_loss = true;
    }

    /// The sums of a peer that was active at `time_ns`. A new entry lacks the handshakes of the
    /// peer that were counted elsewhere before: none of them is later than the last eviction.
    fn entry(&mut self, key: PeerKey, time_ns: u64) -> &mut PeerStats {
        self.newest_ns = self.newest_ns.max(time_ns);
        let lacking_until_ns = self
            .evicted_ns
            .map_or(0, |evicted_ns| evicted_ns.saturating_add(self.window_ns));
        let newest_ns = self.newest_ns;
        let evicted_ns = &mut self.evicted_ns;
        let entry = self.table.entry(key);
        if entry.evicted_another {
            *evicted_ns = Some(newest_ns);
        }
        let stats = entry.sums;
        if entry.is_new {
            stats.lacking_until_ns = lacking_until_ns;
        }
        // Loss has no time of its own: it follows a handshake.
        let active_ns = if time_ns == 0 { newest_ns } else { time_ns };
        stats.last_ns = stats.last_ns.max(active_ns);
        stats
    }

    /// Removes the peers whose newest handshake ended before `oldest_ns`, with their sums.
    pub(super) fn forget(&mut self, oldest_ns: u64) {
        self.forgotten += self.table.remove_oldest(|stats| stats.last_ns < oldest_ns);
    }

    /// Peers with sums of their own.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerKey, &PeerStats)> {
        self.table.iter()
    }

    /// Sums of the other peers, by role.
    #[must_use]
    pub const fn other(&self) -> &ByRole<PeerStats> {
        self.table.other()
    }

    /// Resumed share of one peer in the window that ends at `now_ns`, 0 to 1; `None` without a
    /// handshake in it, or where some of them may be counted as another peer's.
    #[must_use]
    pub fn ratio(&self, stats: &PeerStats, now_ns: u64) -> Option<f64> {
        stats.ratio(now_ns, self.window_ns)
    }

    /// Begins and ends the alerts of the peers with sums of their own, as of `now_ns`; returns the
    /// changes.
    pub fn update_alerts(&mut self, now_ns: u64) -> Vec<AlertChange> {
        let mut changes = Vec::new();
        for (key, stats) in self.table.iter_mut() {
            let recent = stats.offers.recent(now_ns, self.window_ns);
            let before = stats.alert;
            let after = alerts::evaluate_alert(&recent, before, self.thresholds);
            if before != after {
                stats.alert = after;
                changes.push(AlertChange {
                    key: key.clone(),
                    before,
                    after,
                });
            }
        }
        changes
    }

    /// Sums of one peer.
    #[must_use]
    pub fn get(&self, key: &PeerKey) -> Option<&PeerStats> {
        self.table.get(key)
    }

    /// Number of peers with sums of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Peers evicted because the table was full.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    /// Peers that left because they had no handshake for long.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Role, pipeline::peers::Peer};

    fn key(last: u8) -> PeerKey {
        PeerKey {
            role: Role::Server,
            peer: Peer::Network(format!("127.0.0.{last}/32").parse().unwrap()),
        }
    }

    fn table() -> PeerTable {
        PeerTable::new(Limits {
            max_peers: 2,
            max_services: 2,
            max_workloads: 2,
            forget_after_ns: u64::MAX,
            forget_peers_after_ns: u64::MAX,
            window_ns: 1_000,
            thresholds: Thresholds {
                miss_ratio: 1.0,
                min_offers: 1,
            },
        })
    }

    #[test]
    fn the_least_recent_peer_is_summed_as_other_and_the_total_remains() {
        let mut table = table();
        table.record_completed(key(1), Resumption::Full, 10);
        table.record_completed(key(2), Resumption::Resumed, 11);
        table.record_failed(key(1), FailureCause::Reset, 11);
        table.record_completed(key(3), Resumption::Full, 12);
        let names: Vec<_> = table.iter().map(|(key, _)| key.peer.to_string()).collect();
        assert_eq!(names, ["127.0.0.3", "127.0.0.1"]);
        let other = &table.other()[Role::Server];
        assert_eq!(other.completed.into_array(), [0, 1, 0, 0]);
        assert_eq!(table.ratio(other, 12), Some(1.0));
        assert_eq!(table.evicted(), 1);
        let full = table
            .iter()
            .map(|(_, stats)| stats.completed[Resumption::Full]);
        assert_eq!(full.sum::<u64>(), 2);
    }

    /// A few peers too many that visit in turn, half of whose handshakes resume.
    #[test]
    fn peers_that_visit_in_turn_have_their_true_ratio_or_none() {
        const PEERS: u16 = 1_030;
        let mut table = PeerTable::new(Limits {
            max_peers: 1_000,
            max_services: 2,
            max_workloads: 2,
            forget_after_ns: u64::MAX,
            forget_peers_after_ns: u64::MAX,
            window_ns: 10 * u64::from(PEERS),
            thresholds: table().thresholds,
        });
        let mut now_ns = 0;
        let (mut ratios, mut absent) = (0, 0);
        for visit in 0..60 {
            for number in 0..PEERS {
                now_ns += 1;
                let [high, low] = number.to_be_bytes();
                let peer = Peer::Network(format!("10.0.{high}.{low}/32").parse().unwrap());
                let role = Role::Server;
                let resumption = match visit % 2 {
                    0 => Resumption::Full,
                    _ => Resumption::Resumed,
                };
                table.record_completed(PeerKey { role, peer }, resumption, now_ns);
            }
            if visit < 20 || visit % 2 == 0 {
                continue;
            }
            for (key, stats) in table.iter() {
                match table.ratio(stats, now_ns) {
                    Some(ratio) => {
                        assert!((ratio - 0.5).abs() < 0.1, "{}: {ratio}", key.peer);
                        ratios += 1;
                    }
                    None => absent += 1,
                }
            }
        }
        assert!(ratios > 40 * absent, "{ratios} {absent}");
        assert!(table.evicted() > 0);
    }

    #[test]
    fn an_evicted_peer_has_no_ratio_until_its_window_is_whole() {
        let mut table = table();
        table.record_completed(key(1), Resumption::Full, 10);
        table.record_completed(key(2), Resumption::Full, 11);
        table.record_completed(key(3), Resumption::Full, 12);
        assert!(table.get(&key(2)).is_none());
        table.record_completed(key(2), Resumption::Resumed, 14);
        let ratio = |now_ns| table.ratio(table.get(&key(2)).unwrap(), now_ns);
        assert_eq!(ratio(14), None, "1.0 would be wrong");
        assert_eq!(ratio(1_000), None);
        let whole = 1_012;
        table.record_completed(key(2), Resumption::Resumed, whole);
        assert_eq!(table.ratio(table.get(&key(2)).unwrap(), whole), Some(1.0));
    }

    #[test]
    fn a_full_handshake_after_loss_counts_for_peers_that_resume() {
        let mut table = table();
        let sums = |table: &PeerTable| {
            let stats = table.get(&key(1)).unwrap();
            (stats.with_loss, stats.full_after_loss)
        };
        table.record_loss(key(1));
        table.record_completed(key(1), Resumption::Full, 10);
        assert_eq!(
            sums(&table),
            (1, 0),
            "no evidence that it would have resumed"
        );
        table.record_completed(key(1), Resumption::Resumed, 11);
        table.record_completed(key(1), Resumption::Full, 12);
        table.record_loss(key(1));
        table.record_completed(key(1), Resumption::Full, 13);
        table.record_completed(key(1), Resumption::Full, 14);
        assert_eq!(sums(&table), (2, 1));
    }
}
