//! Alerts that arrived right after a handshake had completed on this side, by name.

use std::collections::BTreeMap;

use super::by_role::ByRole;
use crate::{model::Role, pipeline::wire::alert};

/// Name of the alerts that have no assigned one.
const OTHER: &str = "other";

/// Alerts that reject a certificate. They are counted from zero, so that the first one is an
/// increase in Prometheus.
const CERTIFICATE_ALERTS: [&str; 5] = [
    "bad_certificate",
    "certificate_expired",
    "certificate_required",
    "certificate_unknown",
    "unknown_ca",
];

/// Number of alerts after completion. Bounded by the number of assigned alerts.
#[derive(Debug)]
pub struct AlertsAfterCompletion(ByRole<BTreeMap<&'static str, u64>>);

impl Default for AlertsAfterCompletion {
    fn default() -> Self {
        let mut sums = ByRole::<BTreeMap<_, _>>::default();
        for role in Role::ALL {
            sums[role] = CERTIFICATE_ALERTS.map(|name| (name, 0)).into();
        }
        Self(sums)
    }
}

impl AlertsAfterCompletion {
    /// Adds an alert that a process of this role received.
    pub(crate) fn add(&mut self, role: Role, description: u8) {
        let name = alert::name(description).unwrap_or(OTHER);
        *self.0[role].entry(name).or_default() += 1;
    }

    /// Role, name and number of the alerts: those that reject a certificate, and those that have
    /// occurred; in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (Role, &'static str, u64)> {
        self.0
            .iter()
            .flat_map(|(role, sums)| sums.iter().map(move |(name, sum)| (role, *name, *sum)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_counted_by_name_and_unassigned_ones_are_other() {
        let mut alerts = AlertsAfterCompletion::default();
        for description in 0..=u8::MAX {
            alerts.add(Role::Server, description);
        }
        for _ in 0..2 {
            alerts.add(Role::Client, 116);
        }
        let assigned = (0..=u8::MAX).filter_map(alert::name).count();
        let server = alerts.iter().filter(|(role, ..)| *role == Role::Server);
        assert_eq!(server.count(), assigned + 1);
        assert_eq!(
            alerts.iter().map(|(_, _, sum)| sum).sum::<u64>(),
            u64::from(u8::MAX) + 1 + 2
        );
        let refused = (Role::Client, "certificate_required", 2);
        assert!(alerts.iter().any(|sum| sum == refused));
    }
}
