//! Sockets of processes, from `/proc/PID/net/tcp`, `tcp6` and `/proc/PID/fd`.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    net::{IpAddr, Ipv6Addr},
};

use super::proc_link::inode_of;

/// `TCP_LISTEN` in the tables.
const LISTEN: &str = "0A";
/// The tables of a network namespace.
pub(super) const TABLES: [&str; 2] = ["tcp", "tcp6"];

/// A listening TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListeningSocket {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) inode: u64,
}

/// Listening sockets in a table of the network namespace of a process; none where the table does
/// not exist. The kernel lists them before all others (`tcp_seek_last_pos`, net/ipv4/tcp_ipv4.c).
pub(super) fn listening(pid: u32, table: &str) -> impl Iterator<Item = ListeningSocket> {
    let file = File::open(format!("/proc/{pid}/net/{table}")).ok();
    let lines = file.map(|file| BufReader::new(file).lines().skip(1));
    let lines = lines.into_iter().flatten();
    lines.map_while(|line| parse(&line.ok()?))
}

/// Inode numbers of the sockets among the first `max` descriptors of a process.
///
/// # Errors
///
/// The descriptors cannot be listed.
pub(super) fn held_by(pid: u32, max: usize) -> io::Result<impl Iterator<Item = u64>> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.take(max);
    let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Ok(links.filter_map(|link| {
        let is_socket = link.as_os_str().as_encoded_bytes().starts_with(b"socket:");
        inode_of(&link).filter(|_| is_socket)
    }))
}

/// The socket in a line of a table, if it listens.
fn parse(line: &str) -> Option<ListeningSocket> {
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    let is_listening = fields.nth(1)? == LISTEN;
    let inode = fields.nth(5)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = parse_address(address)?;
    is_listening.then_some(ListeningSocket {
        address,
        port,
        inode,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[cfg(target_endian = "little")]
    #[test]
    fn lines_of_listening_sockets_are_parsed() {
        let line = "  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1";
        let expected = ListeningSocket {
            address: Ipv4Addr::LOCALHOST.into(),
            port: 8080,
            inode: 12345,
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse(&line.replace(" 0A ", " 01 ")), None, "established");
        let line = line.replace("0100007F", "00000000000000000000000001000000");
        assert_eq!(
            parse(&line).map(|found| found.address),
            Some(Ipv6Addr::LOCALHOST.into())
        );
        let line = line.replace(
            "00000000000000000000000001000000",
            "0000000000000000FFFF00000100007F",
        );
        assert_eq!(
            parse(&line).map(|found| found.address),
            Some(Ipv4Addr::LOCALHOST.into())
        );
    }
}
