//! Failed handshakes by error reason. A bounded number of reasons have sums of their own; those
//! that occur later are summed as `other`, so that no exported counter ever decreases.

use std::num::NonZeroUsize;

use reprise_ebpf::handshake::REASON_OTHER;

use super::{
    by_role::ByRole,
    recent_table::{RecentTable, Single},
};
use crate::model::Role;

/// Reasons with sums of their own.
const MAX_REASONS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Number of failed handshakes with one error reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorSum {
    /// Error reason of the library.
    pub reason: u32,
    /// Role of the observed process.
    pub role: Role,
    /// Failed handshakes; never 0.
    pub failures: u64,
}

/// Sums by error reason.
#[derive(Debug)]
pub struct Errors(RecentTable<u32, ByRole<u64>, Single<ByRole<u64>>>);

impl Default for Errors {
    fn default() -> Self {
        Self(RecentTable::new(MAX_REASONS))
    }
}

impl Errors {
    /// Adds one failed handshake.
    pub(crate) fn add(&mut self, role: Role, reason: u32) {
        let sums = if reason == REASON_OTHER {
            &mut self.0.other_mut().0
        } else {
            match self.0.existing_or_free(reason) {
                Ok(sums) => sums,
                Err(other) => &mut other.0,
            }
        };
        sums[role] += 1;
    }

    /// Sums of the reasons that have occurred, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = ErrorSum> {
        let by_reason = self.0.sorted().into_iter();
        let all = by_reason.flat_map(|(reason, sums)| {
            sums.iter().map(|(role, failures)| ErrorSum {
                reason: *reason,
                role,
                failures: *failures,
            })
        });
        all.filter(|sum| sum.failures > 0)
    }

    /// Sum of all other reasons, by role.
    #[must_use]
    pub const fn other(&self) -> &ByRole<u64> {
        &self.0.other().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_beyond_the_limit_and_without_a_number_are_other() {
        let mut errors = Errors::default();
        for reason in 1..=MAX_REASONS.get() as u32 + 3 {
            errors.add(Role::Server, reason);
        }
        errors.add(Role::Client, 1);
        errors.add(Role::Client, REASON_OTHER);
        assert_eq!(errors.other().into_array(), [3, 1]);
        assert_eq!(errors.iter().count(), MAX_REASONS.get() + 1);
        assert_eq!(errors.iter().map(|sum| sum.failures).sum::<u64>(), 65);
    }
}
