//! Processes that hold sockets.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use crate::host::socket_tables;

/// The system's first process holds the sockets of units that it starts on demand
/// (systemd.socket(5)), and accepts no TLS connection itself.
const INIT: u32 = 1;

/// Maximum number of descriptors of a process that are read, the lowest first: a server opens its
/// listening sockets before it accepts connections.
const MAX_DESCRIPTORS: usize = 16_384;

/// Processes by the sockets that they hold.
#[derive(Debug, Default)]
pub(super) struct Holders(HashMap<u64, HashSet<u32>>);

impl Holders {
    /// Finds the holders of these sockets; `None` if a process cannot be read, since it may hold
    /// them, too.
    pub(super) fn read(pids: &[u32], sockets: &HashSet<u64>) -> Option<Self> {
        let mut holders = Self::default();
        if sockets.is_empty() {
            return Some(holders);
        }
        for pid in pids {
            let held = match socket_tables::held_by(*pid, MAX_DESCRIPTORS) {
                Ok(held) => held,
                Err(error) if has_ended(&error) => continue,
                Err(_) => return None,
            };
            for inode in held {
                if sockets.contains(&inode) {
                    holders.0.entry(inode).or_default().insert(*pid);
                }
            }
        }
        Some(holders)
    }

    /// The process that alone holds these sockets.
    pub(super) fn only(&self, sockets: &[u64]) -> Option<u32> {
        let holders = sockets.iter().filter_map(|socket| self.0.get(socket));
        let pids: HashSet<u32> = holders.flatten().copied().collect();
        let mut others = pids.into_iter().filter(|pid| *pid != INIT);
        others.next().filter(|_| others.next().is_none())
    }
}

fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_holders_own_nothing_but_the_first_process_is_none() {
        let sets = [
            (1, vec![7]),
            (2, vec![7, 8]),
            (3, vec![INIT, 9]),
            (4, vec![INIT]),
        ];
        let sets = sets.map(|(socket, pids)| (socket, pids.into_iter().collect()));
        let holders = Holders(HashMap::from(sets));
        let only = |sockets: &[u64]| holders.only(sockets);
        assert_eq!([only(&[1]), only(&[3])], [Some(7), Some(9)]);
        assert_eq!([only(&[2]), only(&[4]), only(&[5]), only(&[])], [None; 4]);
        assert_eq!(only(&[1, 3]), None, "two processes share the port");
    }
}
