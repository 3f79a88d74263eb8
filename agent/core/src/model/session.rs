//! What a TLS library reports about sessions.

/// Age of a session, as the library stores it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionAge {
    /// When the session was created, nanoseconds since 1970 by the process's clock; `None` where
    /// not read.
    pub created_ns: Option<u64>,
    /// Its lifetime, nanoseconds; `None` where not read.
    pub lifetime_ns: Option<u64>,
}

/// Result of a server library's look-up of the offered session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lookup {
    /// The look-up was not observed.
    #[default]
    Unobserved,
    /// It found no session, or could not decrypt the ticket.
    NotFound,
    /// It found a session and rejected it.
    Rejected {
        /// Its age by the server's clock, nanoseconds; negative for a session that was created in
        /// that clock's future, `None` where that clock was not read.
        age_ns: Option<i64>,
        /// Its lifetime, nanoseconds.
        lifetime_ns: u64,
    },
}

/// Session facts of one completed handshake, as the library reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionFacts {
    /// Age of the session that the handshake created or resumed.
    pub age: SessionAge,
    /// Hash of its ID, as in [`super::Token::hash`].
    pub id: Option<u64>,
    /// Result of the look-up of the offered session.
    pub lookup: Lookup,
}
