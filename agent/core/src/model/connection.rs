//! TCP connection.

use std::net::SocketAddr;

use super::Role;

/// Both ends of a TCP connection, as seen from this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

impl Connection {
    /// The client's end, given the role of this host.
    #[must_use]
    pub const fn client(&self, role: Role) -> SocketAddr {
        match role {
            Role::Server => self.remote,
            Role::Client => self.local,
        }
    }

    /// The server's end, given the role of this host.
    #[must_use]
    pub const fn server(&self, role: Role) -> SocketAddr {
        match role {
            Role::Server => self.local,
            Role::Client => self.remote,
        }
    }
}
