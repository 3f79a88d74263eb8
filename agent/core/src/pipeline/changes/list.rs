//! The most recent changes.

use std::{collections::VecDeque, num::NonZeroUsize};

use enum_map::EnumMap;
use lru::LruCache;

use super::offers::{COMPARED_NS, Hits, RecentOffers};
use crate::model::{Change, ChangeKind, ServiceId};

/// Maximum number of changes retained; the oldest is evicted.
const MAX_CHANGES: usize = 256;
/// Maximum number of services whose offers are retained; the one without an offer for the longest
/// time is evicted.
const MAX_SERVICES: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// A change and the offers around it: those of its service, or of all services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedChange {
    /// The change.
    pub change: Change,
    /// Offers within ten minutes before it.
    pub before: Hits,
    /// Offers within ten minutes after it, or until another change of the service.
    pub after: Hits,
    /// Whether another change of the service followed, to which later offers are added.
    followed: bool,
}

/// Changes of all services and of the host.
#[derive(Debug)]
pub struct Changes {
    /// Oldest first.
    list: VecDeque<RecordedChange>,
    services: LruCache<ServiceId, RecentOffers>,
    all: RecentOffers,
    counts: EnumMap<ChangeKind, u64>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            list: VecDeque::new(),
            services: LruCache::new(MAX_SERVICES),
            all: RecentOffers::default(),
            counts: EnumMap::default(),
        }
    }
}

impl Changes {
    /// Adds an offer that a service accepted or missed.
    pub fn record_offer(&mut self, service: ServiceId, time_ns: u64, accepted: bool) {
        let offers = self.services.get_or_insert_mut(service, Default::default);
        offers.add(time_ns, accepted);
        self.all.add(time_ns, accepted);
        for recorded in self.list.iter_mut().rev() {
            let Change {
                time_ns: changed_ns,
                service: of,
                ..
            } = recorded.change;
            let is_after = (changed_ns..changed_ns.saturating_add(COMPARED_NS)).contains(&time_ns);
            if is_after && !recorded.followed && of.is_none_or(|of| of == service) {
                recorded.after.add(accepted);
            }
        }
    }

    /// Adds a change.
    pub fn add(&mut self, change: Change) {
        self.counts[change.detail.kind()] += 1;
        for earlier in &mut self.list {
            earlier.followed |= earlier.change.service == change.service;
        }
        let offers = match change.service {
            Some(service) => self.services.peek(&service),
            None => Some(&self.all),
        };
        let begin_ns = change.time_ns.saturating_sub(COMPARED_NS);
        let before = offers.map(|offers| offers.within(begin_ns..change.time_ns));
        // A change may be detected some time after it took effect.
        let after = offers.map(|offers| offers.within(change.time_ns..u64::MAX));
        if self.list.len() >= MAX_CHANGES {
            self.list.pop_front();
        }
        self.list.push_back(RecordedChange {
            change,
            before: before.unwrap_or_default(),
            after: after.unwrap_or_default(),
            followed: false,
        });
    }

    /// The changes that are retained, newest first.
    pub fn latest_first(&self) -> impl Iterator<Item = &RecordedChange> {
        self.list.iter().rev()
    }

    /// The last change of a service or of the host before `time_ns`, at most ten minutes earlier.
    #[must_use]
    pub fn preceding(&self, service: ServiceId, time_ns: u64) -> Option<&RecordedChange> {
        self.latest_first().find(|recorded| {
            let Change {
                time_ns: changed_ns,
                service: of,
                ..
            } = recorded.change;
            of.is_none_or(|of| of == service)
                && (changed_ns..changed_ns.saturating_add(COMPARED_NS)).contains(&time_ns)
        })
    }

    /// Number of changes since the agent began.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Changes by kind, since the agent began.
    #[must_use]
    pub const fn counts(&self) -> &EnumMap<ChangeKind, u64> {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChangeDetail;

    const SECOND: u64 = 1_000_000_000;

    fn replaced(service: u32, time_s: u64) -> Change {
        Change {
            time_ns: time_s * SECOND,
            service: Some(ServiceId(service)),
            detail: ChangeDetail::ServiceReplaced { tgid: 7 },
        }
    }

    #[test]
    fn a_change_has_the_offers_of_its_service_before_and_after() {
        let mut changes = Changes::default();
        let offers = |changes: &mut Changes, service, seconds: std::ops::Range<u64>, hit| {
            for second in seconds {
                changes.record_offer(ServiceId(service), second * SECOND, hit);
            }
        };
        offers(&mut changes, 1, 100..700, false);
        offers(&mut changes, 1, 700..1_000, true);
        offers(&mut changes, 2, 700..1_000, false);
        changes.add(replaced(1, 1_000));
        offers(&mut changes, 1, 1_000..1_100, false);
        offers(&mut changes, 2, 1_000..1_100, true);
        let first = *changes.latest_first().next().unwrap();
        assert_eq!((first.before.accepted, first.before.missed), (300, 300));
        assert_eq!((first.after.accepted, first.after.missed), (0, 100));
        assert_eq!(first.before.ratio(), Some(0.5));
        changes.add(replaced(1, 1_100));
        offers(&mut changes, 1, 1_100..1_900, true);
        let [second, first] = [0, 1].map(|at| *changes.latest_first().nth(at).unwrap());
        assert_eq!((first.after.accepted, second.after.accepted), (0, 600));
        let preceding = |service, time_s| changes.preceding(ServiceId(service), time_s * SECOND);
        assert_eq!(preceding(1, 1_150), Some(&second));
        assert_eq!(preceding(1, 1_050), Some(&first));
        assert_eq!(preceding(2, 1_150), None);
        assert_eq!(preceding(1, 1_701), None, "ten minutes later");
    }

    #[test]
    fn a_change_of_the_host_concerns_all_services() {
        let mut changes = Changes::default();
        changes.record_offer(ServiceId(1), SECOND, true);
        changes.record_offer(ServiceId(2), SECOND, false);
        changes.add(Change {
            time_ns: 20 * SECOND,
            service: None,
            detail: ChangeDetail::ClockStep { step_ns: 1 },
        });
        changes.record_offer(ServiceId(2), 20 * SECOND, false);
        let recorded = changes.latest_first().next().unwrap();
        assert_eq!(recorded.before.ratio(), Some(0.5));
        assert_eq!(recorded.after.ratio(), Some(0.0));
        assert_eq!(changes.counts()[ChangeKind::ClockStep], 1);
        assert!(changes.preceding(ServiceId(3), 21 * SECOND).is_some());
    }

    #[test]
    fn changes_and_services_are_bounded() {
        let mut changes = Changes::default();
        for one in 0..3_000 {
            changes.record_offer(ServiceId(one), SECOND, true);
            changes.add(replaced(one, 1));
        }
        assert_eq!(changes.list.len(), MAX_CHANGES);
        assert_eq!(changes.services.len(), MAX_SERVICES.get());
        assert_eq!(changes.counts()[ChangeKind::ServiceReplaced], 3_000);
    }
}
