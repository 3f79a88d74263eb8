//! Completed handshakes per workload and port.

use std::{fmt, num::NonZeroUsize, sync::Arc};

use enum_map::EnumMap;

use super::{
    by_role::ByRole,
    recent_table::{HasRole, RecentTable},
};
use crate::model::{Owner, Resumption, Role};

/// Port of a server, on this host or on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServicePort {
    /// A port with a name of its own.
    Number(u16),
    /// Ephemeral ports, folded.
    Ephemeral,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(port) => port.fmt(f),
            Self::Ephemeral => f.write_str("ephemeral"),
        }
    }
}

/// A workload and the port of the server, in one role.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadKey {
    /// The workload.
    pub owner: Arc<Owner>,
    /// Port of the server.
    pub port: ServicePort,
    /// Role of the observed process.
    pub role: Role,
}

impl HasRole for WorkloadKey {
    fn role(&self) -> Role {
        self.role
    }
}

/// Completed handshakes by resumption.
pub type WorkloadSums = EnumMap<Resumption, u64>;

/// Sums of the most recently active workloads; those of the others are added up.
#[derive(Debug)]
pub struct Workloads {
    table: RecentTable<WorkloadKey, WorkloadSums, ByRole<WorkloadSums>>,
}

impl Workloads {
    pub(super) fn new(max: usize) -> Self {
        Self {
            table: RecentTable::new(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN)),
        }
    }

    /// Adds a completed handshake.
    pub(super) fn record_completed(
        &mut self,
        owner: Arc<Owner>,
        port: ServicePort,
        role: Role,
        resumption: Resumption,
    ) {
        let key = WorkloadKey { owner, port, role };
        self.table.entry(key)[resumption] += 1;
    }

    /// Workloads with sums of their own, in order.
    #[must_use]
    pub fn named(&self) -> Vec<(&WorkloadKey, &WorkloadSums)> {
        self.table.sorted()
    }

    /// Sums of the other workloads, by role.
    #[must_use]
    pub const fn other(&self) -> &ByRole<WorkloadSums> {
        self.table.other()
    }

    /// Workloads evicted because the table was full.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    /// Number of workloads with sums of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTPS: ServicePort = ServicePort::Number(443);

    #[test]
    fn handshakes_count_for_their_workload_and_the_total_remains() {
        let mut workloads = Workloads::new(2);
        let mut record = |owner: &str, port, role, resumption| {
            let owner = Arc::new(Owner::from_workload(owner));
            workloads.record_completed(owner, port, role, resumption);
        };
        let other = ServicePort::Number(8443);
        record("nginx.service", HTTPS, Role::Server, Resumption::Full);
        record("curl", HTTPS, Role::Client, Resumption::Resumed);
        record("nginx.service", HTTPS, Role::Server, Resumption::Resumed);
        record("unknown", other, Role::Server, Resumption::Full);
        let named: Vec<_> = workloads
            .named()
            .into_iter()
            .map(|(key, sums)| {
                (
                    key.owner.to_string(),
                    key.port.to_string(),
                    sums.into_array(),
                )
            })
            .collect();
        let expected = [
            ("nginx.service".to_owned(), "443".to_owned(), [1, 1, 0]),
            ("unknown".to_owned(), "8443".to_owned(), [1, 0, 0]),
        ];
        assert_eq!(named, expected);
        let other = workloads.other()[Role::Client];
        assert_eq!(other.into_array(), [0, 1, 0]);
        assert_eq!((workloads.evicted(), workloads.len()), (1, 2));
    }
}
