//! Listening sockets of network namespaces, from `/proc/PID/net/tcp` and `tcp6`.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

/// Maximum number of listening sockets of a namespace; of a namespace with more, nothing is known.
const MAX_SOCKETS: usize = 65_536;
/// `TCP_LISTEN` in the tables.
const LISTEN: &str = "0A";

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
            let tables = ["tcp", "tcp6"].map(|table| read(*pid, table));
            if let [Some(four), Some(six)] = tables {
                missing.remove(&namespace);
                for (address, port, inode) in four.into_iter().chain(six) {
                    if ports.contains(&(namespace, port)) {
                        let sockets = listening.0.entry((namespace, port)).or_default();
                        sockets.push((address, inode));
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

/// Listening sockets in a table; empty for a table that does not exist, and `None` for one with too
/// many. The kernel lists them before all others (`tcp_seek_last_pos`, net/ipv4/tcp_ipv4.c).
fn read(pid: u32, table: &str) -> Option<Vec<(IpAddr, u16, u64)>> {
    let Ok(file) = File::open(format!("/proc/{pid}/net/{table}")) else {
        return Some(Vec::new());
    };
    let lines = BufReader::new(file).lines().skip(1);
    let listening = lines.map_while(|line| parse(&line.ok()?));
    let found: Vec<_> = listening.take(MAX_SOCKETS + 1).collect();
    (found.len() <= MAX_SOCKETS).then_some(found)
}

/// Address, port and inode number in a line of the table, if the socket listens.
fn parse(line: &str) -> Option<(IpAddr, u16, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    let is_listening = fields.nth(1)? == LISTEN;
    let inode = fields.nth(5)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    is_listening.then_some((parse_address(address)?, port, inode))
}

/// An address as the kernel writes it: words in the machine's byte order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| -> Option<[u8; 4]> {
        let digits = text.get(8 * at..8 * (at + 1))?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    if text.len() == 8 {
        return Some(IpAddr::V4(word(0)?.into()));
    }
    let words = [word(0)?, word(1)?, word(2)?, word(3)?];
    let mut bytes = [0; 16];
    bytes.copy_from_slice(words.as_flattened());
    Some(Ipv6Addr::from(bytes).to_canonical())
}

/// The inode number in a link such as `net:[4026531840]` or `socket:[12345]`.
pub(super) fn inode_of(link: &Path) -> Option<u64> {
    let text = link.to_str()?;
    text.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn lines_of_listening_sockets_are_parsed() {
        let line = "  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1";
        let expected = (Ipv4Addr::LOCALHOST.into(), 8080, 12345);
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse(&line.replace(" 0A ", " 01 ")), None, "established");
        let line = line.replace("0100007F", "00000000000000000000000001000000");
        assert_eq!(
            parse(&line).map(|found| found.0),
            Some(Ipv6Addr::LOCALHOST.into())
        );
        let line = line.replace(
            "00000000000000000000000001000000",
            "0000000000000000FFFF00000100007F",
        );
        assert_eq!(
            parse(&line).map(|found| found.0),
            Some(Ipv4Addr::LOCALHOST.into())
        );
    }

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
