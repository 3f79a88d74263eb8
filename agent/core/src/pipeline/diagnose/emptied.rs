//! Evidence that a process emptied its session cache while it ran, as a reload of its configuration
//! does: from one moment on it misses all sessions that were last used before, and accepts those
//! used after. Eviction and lifetimes are excluded, since sessions were accepted after as many
//! others and as long a time.

/// Minimum numbers of misses and of later acceptances that show it.
const MIN_MISSES: u64 = 5;
const MIN_ACCEPTED: u64 = 3;
/// Number of contradictions from which on nothing is concluded about a process: it misses sessions
/// one by one.
const MAX_CONTRADICTIONS: u8 = 2;

/// Sessions and time between a session's last use, or its issue, and its offer: the cache must have
/// held it for that long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Distance {
    /// Sessions issued since its last use.
    pub(super) rank: u64,
    /// Sessions issued since its issue.
    pub(super) rank_since_issue: u64,
    /// Time since its last use, nanoseconds.
    pub(super) idle_ns: u64,
    /// Time since its issue, nanoseconds.
    pub(super) age_ns: u64,
    /// Sessions that the process had issued by then.
    pub(super) issued: u64,
}

impl Distance {
    /// The ranks when the process had issued only this number of sessions.
    const fn as_of(self, issued: u64) -> Self {
        let later = self.issued.saturating_sub(issued);
        Self {
            rank: self.rank.saturating_sub(later),
            rank_since_issue: self.rank_since_issue.saturating_sub(later),
            ..self
        }
    }
}

/// Misses that the emptying of a cache explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Misses {
    count: u64,
    first_ns: u64,
    /// Sessions that the process had issued at the first miss.
    issued: u64,
    /// Latest last use among the missed sessions.
    latest_use_ns: u64,
    /// Shortest time since use, and since issue, of a missed session.
    least_idle_ns: u64,
    least_age_ns: u64,
    /// Acceptances since then, and the earliest last use among the accepted sessions.
    accepted: u64,
    earliest_use_ns: u64,
}

/// Acceptances and misses of one process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CacheHistory {
    /// Greatest distances of accepted sessions.
    bridged: Distance,
    misses: Option<Misses>,
    contradictions: u8,
}

impl CacheHistory {
    /// Records that the process accepted a session of its own.
    pub(super) fn accept(&mut self, used_ns: u64, distance: Distance) {
        self.bridged = Distance {
            rank: self.bridged.rank.max(distance.rank),
            rank_since_issue: self.bridged.rank_since_issue.max(distance.rank_since_issue),
            idle_ns: self.bridged.idle_ns.max(distance.idle_ns),
            age_ns: self.bridged.age_ns.max(distance.age_ns),
            issued: distance.issued,
        };
        match &mut self.misses {
            Some(misses) if used_ns > misses.latest_use_ns => {
                misses.accepted += 1;
                misses.earliest_use_ns = misses.earliest_use_ns.min(used_ns);
            }
            Some(_) => self.contradict(),
            None => {}
        }
    }

    const fn contradict(&mut self) {
        self.misses = None;
        self.contradictions = self.contradictions.saturating_add(1);
    }

    /// Records that the process missed a session of its own at `now_ns`.
    pub(super) fn miss(&mut self, used_ns: u64, now_ns: u64, distance: Distance) {
        if !self.is_bridged(distance) {
            return;
        }
        // The cache may be emptied a second time.
        if let Some(misses) = self.misses
            && !misses.explain(used_ns)
        {
            if misses.are_enough() {
                self.misses = None;
            } else {
                self.contradict();
            }
        }
        let misses = self.misses.unwrap_or(Misses {
            count: 0,
            first_ns: now_ns,
            issued: distance.issued,
            latest_use_ns: 0,
            least_idle_ns: u64::MAX,
            least_age_ns: u64::MAX,
            accepted: 0,
            earliest_use_ns: u64::MAX,
        });
        self.misses = Some(Misses {
            count: misses.count + 1,
            latest_use_ns: misses.latest_use_ns.max(used_ns),
            least_idle_ns: misses.least_idle_ns.min(distance.idle_ns),
            least_age_ns: misses.least_age_ns.min(distance.age_ns),
            ..misses
        });
    }

    /// Whether the cache was emptied after the last use of a session at this distance. Sessions
    /// that were issued into the emptied cache did not evict it.
    pub(super) fn was_emptied(&self, used_ns: u64, distance: Distance) -> bool {
        self.contradictions < MAX_CONTRADICTIONS
            && self.misses.is_some_and(|misses| {
                self.is_bridged(distance.as_of(misses.issued))
                    && misses.explain(used_ns)
                    && misses.are_enough()
                    && misses.least_idle_ns < self.bridged.idle_ns
                    && misses.least_age_ns < self.bridged.age_ns
            })
    }

    /// Whether a session was accepted after as many others, so that the cache held this one.
    const fn is_bridged(&self, distance: Distance) -> bool {
        distance.rank <= self.bridged.rank
            && distance.rank_since_issue <= self.bridged.rank_since_issue
    }
}

impl Misses {
    /// Whether a session last used then was in the cache that was emptied.
    const fn explain(&self, used_ns: u64) -> bool {
        used_ns <= self.first_ns && used_ns < self.earliest_use_ns
    }

    const fn are_enough(&self) -> bool {
        self.count >= MIN_MISSES && self.accepted >= MIN_ACCEPTED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn after(number: u64) -> Distance {
        Distance {
            rank: number,
            rank_since_issue: number,
            idle_ns: number,
            age_ns: number,
            issued: 0,
        }
    }

    /// Sessions were accepted after up to 20 others; four are missed at 101.
    fn history() -> CacheHistory {
        let mut history = CacheHistory::default();
        history.accept(50, after(20));
        for used_ns in [80, 90, 85, 60] {
            history.miss(used_ns, 101, after(10));
        }
        history
    }

    fn emptied(history: &mut CacheHistory) -> bool {
        history.miss(70, 110, after(15));
        history.was_emptied(70, after(15))
    }

    #[test]
    fn all_older_sessions_are_missed_and_newer_ones_accepted() {
        let mut history = history();
        for used_ns in [102, 103, 104] {
            assert!(!history.was_emptied(70, after(15)));
            history.accept(used_ns, after(3));
        }
        assert!(emptied(&mut history));
        assert!(!history.was_emptied(70, after(21)), "may be evicted");
        assert!(!history.was_emptied(103, after(1)), "used later");
    }

    #[test]
    fn sessions_issued_into_the_emptied_cache_evict_none_of_the_old_ones() {
        let mut history = history();
        history.miss(70, 110, after(15));
        for used_ns in [102, 103, 104] {
            history.accept(used_ns, after(3));
        }
        let at = |issued, rank| Distance {
            issued,
            ..after(rank)
        };
        assert!(!history.was_emptied(70, at(0, 25)), "may have been evicted");
        assert!(
            history.was_emptied(70, at(10, 25)),
            "15 before it was emptied"
        );
        assert!(
            !history.was_emptied(70, at(4, 25)),
            "21 before it was emptied"
        );
    }

    #[test]
    fn a_contradiction_is_no_evidence() {
        let mut accepted_older = history();
        for used_ns in [102, 103, 104, 60] {
            accepted_older.accept(used_ns, after(3));
        }
        assert!(!emptied(&mut accepted_older));
        let mut missed_newer = history();
        for used_ns in [102, 103, 104] {
            missed_newer.accept(used_ns, after(3));
        }
        missed_newer.miss(105, 109, after(2));
        assert!(!emptied(&mut missed_newer));
    }

    #[test]
    fn sessions_that_are_missed_one_by_one_are_no_emptied_cache() {
        let mut history = CacheHistory::default();
        history.accept(50, after(20));
        for used_ns in (100..200).step_by(10) {
            history.miss(used_ns, used_ns + 8, after(10));
            history.accept(used_ns + 4, after(10));
        }
        for used_ns in [180, 185, 186, 187, 188] {
            history.miss(used_ns, 210, after(10));
        }
        for used_ns in [212, 213, 214] {
            history.accept(used_ns, after(3));
        }
        assert!(!history.was_emptied(180, after(10)));
    }

    #[test]
    fn a_cache_can_be_emptied_twice() {
        let mut history = history();
        let accept = |history: &mut CacheHistory, numbers: [u64; 3]| {
            for used_ns in numbers {
                history.accept(used_ns, after(3));
            }
        };
        accept(&mut history, [102, 103, 104]);
        assert!(emptied(&mut history));
        for used_ns in [102, 103, 104, 105, 106] {
            history.miss(used_ns, 201, after(10));
        }
        accept(&mut history, [202, 203, 204]);
        assert!(history.was_emptied(105, after(10)));
    }

    #[test]
    fn a_shorter_lifetime_is_no_emptied_cache() {
        let mut history = CacheHistory::default();
        let old = Distance {
            idle_ns: 30,
            age_ns: 30,
            ..after(10)
        };
        history.accept(50, after(20));
        for used_ns in [70, 71, 72, 73] {
            history.miss(used_ns, 101, old);
        }
        for used_ns in [102, 103, 104] {
            history.accept(used_ns, after(3));
        }
        history.miss(70, 110, old);
        assert!(!history.was_emptied(70, old));
    }
}
