//! Service: a listening end on this host with the processes behind it.

/// Identifies a service within one run of the agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// Facts about a service, for advice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Live sessions: those it issued within the last lifetime and has not replaced since. The
    /// number that its cache would have to hold.
    pub sessions: u64,
    /// Lifetime of its newest session, nanoseconds.
    pub lifetime_ns: Option<u64>,
    /// Wall clock of its processes minus this host's, nanoseconds.
    pub skew_ns: Option<i64>,
    /// It was seen to issue a session ID.
    pub issues_ids: bool,
    /// It was seen to issue a session ticket; those of TLS 1.3 are encrypted and not counted.
    pub issues_tickets: bool,
    /// Nearly every ticket that it issues is encrypted under a new key: it creates a TLS context
    /// per connection.
    pub per_connection_keys: bool,
}
