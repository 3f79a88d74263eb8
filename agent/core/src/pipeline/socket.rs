//! Connections from the ABI's socket records.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use reprise_ebpf::Socket;

use crate::model::Connection;

/// The connection that a socket record names; `None` where it names none (both ports zero).
#[must_use]
pub fn connection(socket: &Socket) -> Option<Connection> {
    if socket.local_port == 0 && socket.remote_port == 0 {
        return None;
    }
    Some(Connection {
        local: SocketAddr::new(address(socket.local), socket.local_port),
        remote: SocketAddr::new(address(socket.remote), socket.remote_port),
    })
}

fn address(words: [u64; 2]) -> IpAddr {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&words[0].to_ne_bytes());
    bytes[8..].copy_from_slice(&words[1].to_ne_bytes());
    Ipv6Addr::from(bytes).to_canonical()
}
