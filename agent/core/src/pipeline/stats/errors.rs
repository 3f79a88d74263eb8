//! Error reasons of failed handshakes by their number: the first ones by themselves, all others as one.

use std::collections::BTreeMap;

use reprise_ebpf::handshake::REASON_OTHER;

use super::ByRole;
use crate::model::Role;

/// Reasons told apart.
const MAX_REASONS: usize = 64;

/// Sums by reason.
#[derive(Debug, Default)]
pub struct Errors {
    by_reason: BTreeMap<u32, ByRole<u64>>,
    other: ByRole<u64>,
}

impl Errors {
    /// Adds one.
    pub(crate) fn add(&mut self, role: Role, reason: u32) {
        let room = self.by_reason.len() < MAX_REASONS || self.by_reason.contains_key(&reason);
        let sums = if room && reason != REASON_OTHER {
            self.by_reason.entry(reason).or_default()
        } else {
            &mut self.other
        };
        sums[role as usize] += 1;
    }

    /// Reason, role and sum of each that happened.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Role, u64)> {
        let all = self.by_reason.iter().flat_map(|(reason, sums)| {
            Role::ALL
                .into_iter()
                .map(|role| (*reason, role, sums[role as usize]))
        });
        all.filter(|(.., sum)| *sum > 0)
    }

    /// The sum of all that are not told apart, by role.
    #[must_use]
    pub const fn other(&self) -> &ByRole<u64> {
        &self.other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_or_no_number_is_other() {
        let mut errors = Errors::default();
        for reason in 1..=MAX_REASONS as u32 + 3 {
            errors.add(Role::Server, reason);
        }
        errors.add(Role::Client, 1);
        errors.add(Role::Client, REASON_OTHER);
        assert_eq!(errors.other(), &[3, 1]);
        assert_eq!(errors.iter().count(), MAX_REASONS + 1);
        assert_eq!(errors.iter().map(|(.., sum)| sum).sum::<u64>(), 65);
    }
}
