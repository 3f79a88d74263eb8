//! Finds processes that have a listening TCP socket.

use std::collections::HashSet;

use crate::host::socket_tables::{self, TABLES};

/// Maximum number of listening sockets in a table, and of descriptors, that are read.
const MAX_SOCKETS: usize = 4096;
const MAX_DESCRIPTORS: usize = 4096;

/// Whether a process has a listening TCP socket.
pub(super) fn listens(pid: u32) -> bool {
    let tables = TABLES.into_iter();
    let sockets = tables.flat_map(|table| socket_tables::listening(pid, table).take(MAX_SOCKETS));
    let listening: HashSet<u64> = sockets.map(|socket| socket.inode).collect();
    if listening.is_empty() {
        return false;
    }
    let held = socket_tables::held_by(pid, MAX_DESCRIPTORS);
    held.is_ok_and(|mut held| held.any(|inode| listening.contains(&inode)))
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
        assert!(!listens(u32::MAX >> 1));
    }
}
