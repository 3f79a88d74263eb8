//! Finds processes that have a listening TCP socket.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{BufRead as _, BufReader},
};

/// Maximum number of lines of a socket table, and of descriptors, that are read.
const MAX_SOCKETS: usize = 4096;
const MAX_DESCRIPTORS: usize = 4096;
/// `TCP_LISTEN` in `/proc/PID/net/tcp`.
const LISTEN: &str = "0A";

/// Whether a process has a listening TCP socket.
pub(super) fn listens(pid: u32) -> bool {
    let sockets = listening_sockets(pid);
    if sockets.is_empty() {
        return false;
    }
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let mut targets = descriptors
        .take(MAX_DESCRIPTORS)
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.any(|target| {
        let inode = target.to_str().and_then(|target| {
            target
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        });
        inode.is_some_and(|inode: u64| sockets.contains(&inode))
    })
}

/// Inodes of the listening sockets in the network namespace of a process. The kernel lists them
/// before all others (`tcp_seek_last_pos`, net/ipv4/tcp_ipv4.c).
fn listening_sockets(pid: u32) -> HashSet<u64> {
    let mut found = HashSet::new();
    for table in ["tcp", "tcp6"] {
        let Ok(file) = File::open(format!("/proc/{pid}/net/{table}")) else {
            continue;
        };
        let lines = BufReader::new(file).lines().skip(1).take(MAX_SOCKETS);
        let listening = lines.map_while(|line| parse(&line.ok()?));
        found.extend(listening);
    }
    found
}

/// The inode in a line of the table, if the socket listens.
fn parse(line: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let is_listening = fields.nth(3)? == LISTEN;
    let inode = fields.nth(5)?.parse().ok()?;
    is_listening.then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_listening_process_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(listens(std::process::id()));
        let line = "  0: 0100007F:1F90 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 12345 1";
        assert_eq!(parse(line), None, "established");
        assert_eq!(parse(&line.replace(" 01 ", " 0A ")), Some(12345));
        assert!(!listens(u32::MAX >> 1));
    }
}
