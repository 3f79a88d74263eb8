//! Service: a listening end on this host with the processes behind it.

/// Identifies a service within one run of the agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// Facts about a service, for advice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Distinct sessions it issued within the last lifetime: the number its cache would have to
    /// hold.
    pub sessions: u64,
    /// Lifetime of its newest session, nanoseconds.
    pub lifetime_ns: Option<u64>,
    /// Wall clock of its processes minus this host's, nanoseconds.
    pub skew_ns: Option<i64>,
}
