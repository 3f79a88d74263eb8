//! TCP connection.

use std::net::SocketAddr;

use super::{NetworkNamespace, Role};

/// One end of TCP connections: an address and port in a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct End {
    /// Where the address is valid.
    pub namespace: NetworkNamespace,
    /// Address and port.
    pub address: SocketAddr,
}

/// Both ends of a TCP connection, as seen from this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Network namespace of this host's end, in which both addresses are valid.
    pub namespace: NetworkNamespace,
}

impl Connection {
    /// An address of this connection in its namespace.
    #[must_use]
    pub const fn end(&self, address: SocketAddr) -> End {
        End {
            namespace: self.namespace,
            address,
        }
    }

    /// Whether both are the ends of one connection, by their addresses: the ends may be in
    /// different namespaces.
    #[must_use]
    pub fn is_opposite(&self, other: &Self) -> bool {
        self.local == other.remote && self.remote == other.local
    }

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
