//! Listening sockets of network namespaces.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::host::{
    proc_link::inode_of,
    socket_tables::{self, ListeningSocket, TABLES},
};

/// Maximum number of listening sockets of a namespace; of a namespace with more, nothing is known.
const MAX_SOCKETS: usize = 65_536;

/// Namespace and port.
type Port = (u32, u16);

/// Listening sockets by namespace and port: address and inode number.
#[derive(Debug, Default)]
pub(super) struct Listening(HashMap<Port, Vec<(IpAddr, u64)>>);

impl Listening {
    /// Reads the tables of these namespaces, each through one of the processes in it.
    pub(super) fn read(pids: &[u32], namespaces: &HashSet<u32>, ports: &HashSet<Port>) -> Self {
        let mut listening = Self::default();
        let mut missing = namespaces.clone();
        for pid in pids {
            if missing.is_empty() {
                break;
            }
            let link = fs::read_link(format!("/proc/{pid}/ns/net"));
            let Some(inode) = link.ok().and_then(|link| inode_of(&link)) else {
                continue;
            };
            let namespace = inode as u32 & (u32::MAX >> 1);
            if !missing.contains(&namespace) {
                continue;
            }
            if let [Some(four), Some(six)] = TABLES.map(|table| read(*pid, table)) {
                missing.remove(&namespace);
                for socket in four.into_iter().chain(six) {
                    let port = (namespace, socket.port);
                    if ports.contains(&port) {
                        let sockets = listening.0.entry(port).or_default();
                        sockets.push((socket.address, socket.inode));
                    }
                }
            }
        }
        listening
    }

    /// Inode numbers of the sockets that accept connections to `address`. The kernel prefers those
    /// of this address, then those of its family (`compute_score`, net/ipv4/inet_hashtables.c).
    pub(super) fn at(&self, port: Port, address: IpAddr) -> Vec<u64> {
        let sockets = self.0.get(&port).map_or(&[][..], Vec::as_slice);
        let four = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let addresses = [
            Some(address),
            Some(four).filter(|_| address.is_ipv4()),
            Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        ];
        let mut candidates = addresses.into_iter().flatten().map(|wanted| {
            let of_address = sockets.iter().filter(|(address, _)| *address == wanted);
            of_address.map(|(_, inode)| *inode).collect::<Vec<_>>()
        });
        candidates
            .find(|inodes| !inodes.is_empty())
            .unwrap_or_default()
    }
}

/// Listening sockets in a table; `None` for one with too many.
fn read(pid: u32, table: &str) -> Option<Vec<ListeningSocket>> {
    let listening = socket_tables::listening(pid, table);
    let found: Vec<_> = listening.take(MAX_SOCKETS + 1).collect();
    (found.len() <= MAX_SOCKETS).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_sockets_accept_a_connection() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let sockets = [("10.0.0.1", 1), ("10.0.0.1", 2), ("0.0.0.0", 3), ("::", 4)];
        let sockets = sockets.map(|(text, inode)| (address(text), inode));
        let listening = Listening(HashMap::from([((7, 443), sockets.to_vec())]));
        let at = |text| listening.at((7, 443), address(text));
        assert_eq!(at("10.0.0.1"), [1, 2]);
        assert_eq!(at("10.0.0.2"), [3]);
        assert_eq!(at("2001:db8::1"), [4]);
        assert!(listening.at((7, 8443), address("10.0.0.1")).is_empty());
    }
}
