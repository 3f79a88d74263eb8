//! Limits the time that discovery spends on the files of one owner, so that crafted files do not
//! delay the discovery of others. Pure.

use std::{
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

/// Time that an owner may spend at once.
const BURST: Duration = Duration::from_secs(10);
/// Reciprocal of the share of time that an owner may spend permanently.
const SHARE: u32 = 4;

/// Time spent per group of owners.
#[derive(Debug, Default)]
pub(super) struct Spending(HashMap<Rc<str>, (Duration, Instant)>);

impl Spending {
    /// Records time that was spent.
    pub(super) fn add(&mut self, group: &Rc<str>, spent: Duration, now: Instant) {
        let total = self.spent(group, now) + spent;
        self.0.insert(Rc::clone(group), (total, now));
    }

    /// Whether the group must wait.
    pub(super) fn is_exhausted(&self, group: &Rc<str>, now: Instant) -> bool {
        self.spent(group, now) >= BURST
    }

    /// Forgets groups that have spent nothing recently.
    pub(super) fn forget(&mut self, now: Instant) {
        self.0
            .retain(|_, (spent, at)| *spent > now.saturating_duration_since(*at) / SHARE);
    }

    fn spent(&self, group: &Rc<str>, now: Instant) -> Duration {
        self.0.get(group).map_or(Duration::ZERO, |(spent, at)| {
            spent.saturating_sub(now.saturating_duration_since(*at) / SHARE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_waits_after_a_burst_and_recovers() {
        let begin = Instant::now();
        let (hostile, other): (Rc<str>, Rc<str>) = ("h".into(), "o".into());
        let mut spending = Spending::default();
        spending.add(&hostile, BURST / 2, begin);
        assert!(!spending.is_exhausted(&hostile, begin));
        spending.add(&hostile, BURST, begin);
        assert!(spending.is_exhausted(&hostile, begin));
        assert!(!spending.is_exhausted(&other, begin));
        let later = begin + BURST * SHARE;
        assert!(!spending.is_exhausted(&hostile, later));
        spending.forget(later);
        assert_eq!(spending.0.len(), 1);
        spending.forget(begin + BURST * SHARE * 2);
        assert!(spending.0.is_empty());
    }
}
