//! Connections from the ABI's socket records.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use reprise_ebpf::{Socket, listener::ListenerKey, netns::OF_USER_NAMESPACE};

use crate::model::{Connection, End, NetworkNamespace};

/// The connection that a socket record names; `None` where it names none (both ports zero).
#[must_use]
pub fn connection(socket: &Socket) -> Option<Connection> {
    if socket.local_port == 0 && socket.remote_port == 0 {
        return None;
    }
    Some(Connection {
        local: SocketAddr::new(address(socket.local), socket.local_port),
        remote: SocketAddr::new(address(socket.remote), socket.remote_port),
        namespace: namespace(socket.netns),
    })
}

/// The end that a listening socket's record names.
#[must_use]
pub fn end(key: &ListenerKey) -> End {
    End {
        namespace: namespace(key.netns),
        address: SocketAddr::new(address(key.local), key.port),
    }
}

/// Words of an address, as [`Socket::remote`] has them.
#[must_use]
pub fn words(address: IpAddr) -> [u64; 2] {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let bytes = address.octets();
    [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|byte| bytes[at + byte])))
}

/// Address and port from their fields in a record; `None` where they are zero.
#[must_use]
pub fn socket_address(words: [u64; 2], port: u16) -> Option<SocketAddr> {
    (words != [0; 2]).then(|| SocketAddr::new(address(words), port))
}

const fn namespace(identifier: u32) -> NetworkNamespace {
    match (identifier, identifier & OF_USER_NAMESPACE) {
        (0, _) => NetworkNamespace::Unknown,
        (identifier, 0) => NetworkNamespace::Privileged(identifier),
        (identifier, _) => NetworkNamespace::User(identifier),
    }
}

fn address(words: [u64; 2]) -> IpAddr {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&words[0].to_ne_bytes());
    bytes[8..].copy_from_slice(&words[1].to_ne_bytes());
    Ipv6Addr::from(bytes).to_canonical()
}

#[cfg(test)]
mod tests {
    use reprise_ebpf::netns::identifier;

    use super::*;

    /// Inode numbers of the host's namespace before and since Linux 6.17, and of others.
    #[test]
    fn namespaces_differ_by_inode_number_and_owner() {
        let mut known: Vec<NetworkNamespace> = Vec::new();
        for inode in [0xf000_0000, 0xefff_fff9, 0xf000_1234, u32::MAX] {
            for level in [0, 1] {
                let namespace = namespace(identifier(inode, level));
                assert_eq!(matches!(namespace, NetworkNamespace::User(_)), level > 0);
                assert_eq!(identifier(inode, level), identifier(inode, level * 33));
                assert!(!known.contains(&namespace), "{inode:#x}");
                known.push(namespace);
            }
        }
        assert_eq!(namespace(0), NetworkNamespace::Unknown);
    }
}
