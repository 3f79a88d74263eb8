//! What a server gave in a handshake.

use crate::model::HelloFacts;

/// What a server gave in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// A session ID or a ticket. The tickets of TLS 1.3 are encrypted, and assumed.
    Session,
    /// Neither.
    Nothing,
}

impl Given {
    pub(super) const fn from_hello(hello: &HelloFacts) -> Self {
        let has_session = hello.issued_id.is_some() || hello.issued_ticket.is_some();
        if hello.is_tls13() || has_session {
            Self::Session
        } else {
            Self::Nothing
        }
    }
}
