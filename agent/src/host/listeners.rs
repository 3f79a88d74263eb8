//! Finds the process that alone holds the listening sockets of an address, as `/proc` shows it:
//! `sockets` reads which sockets listen, `holders` which processes have descriptors of them. On a
//! thread of its own, since that takes milliseconds.

mod holders;
mod sockets;

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::mpsc::{Receiver, Sender},
    thread,
};

use reprise_ebpf::{listener::ListenerKey, netns::OF_USER_NAMESPACE};

use self::{holders::Holders, sockets::Listening};
use super::{HostProcesses, ProcessStart, clock::thread_cpu_time, process};
use crate::bpf::now_ns;
use reprise_core::pipeline::socket::end;

/// A process that alone holds the listening sockets of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) tgid: u32,
    pub(crate) start: ProcessStart,
}

/// One search for owners.
#[derive(Debug)]
pub(crate) struct Search {
    /// When it began, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) begin_ns: u64,
    /// CPU time that it took, nanoseconds.
    pub(crate) cost_ns: u64,
    /// The owner of each address; `None` where there is none, or several, or it is not known.
    pub(crate) owners: Vec<(ListenerKey, Option<Owner>)>,
}

/// Starts the thread. It ends when the sender of `requests` is dropped.
///
/// # Errors
///
/// No thread could be started.
pub(crate) fn spawn(
    requests: Receiver<Vec<ListenerKey>>,
    results: Sender<Search>,
    processes: HostProcesses,
) -> io::Result<()> {
    thread::Builder::new()
        .name("listeners".to_owned())
        .spawn(move || {
            for keys in requests {
                if results.send(search(keys, processes)).is_err() {
                    break;
                }
            }
        })
        .map(drop)
}

fn search(keys: Vec<ListenerKey>, processes: HostProcesses) -> Search {
    let (begin_ns, begin_cpu) = (now_ns(), thread_cpu_time());
    let pids = process::pids();
    let namespaces: HashSet<u32> = keys.iter().map(namespace).collect();
    let ports: HashSet<(u32, u16)> = keys.iter().map(|key| (namespace(key), key.port)).collect();
    let listening = Listening::read(&pids, &namespaces, &ports);
    let sockets: Vec<Vec<u64>> = keys
        .iter()
        .map(|key| listening.at((namespace(key), key.port), end(key).address.ip()))
        .collect();
    let wanted: HashSet<u64> = sockets.iter().flatten().copied().collect();
    let holders = Holders::read(&pids, &wanted);
    let mut starts = HashMap::new();
    let owners = keys
        .into_iter()
        .zip(sockets)
        .map(|(key, sockets)| {
            let owner = holders.as_ref().and_then(|holders| {
                let tgid = holders.only(&sockets)?;
                let start = starts.entry(tgid).or_insert_with(|| processes.start(tgid));
                start.map(|start| Owner { tgid, start })
            });
            (key, owner)
        })
        .collect();
    let cost = thread_cpu_time()
        .zip(begin_cpu)
        .map(|(now, begin)| now.saturating_sub(begin));
    Search {
        begin_ns,
        cost_ns: cost.map_or(0, |cost| cost.as_nanos() as u64),
        owners,
    }
}

/// Inode number of the key's network namespace, without the highest bit, which all have.
const fn namespace(key: &ListenerKey) -> u32 {
    key.netns & !OF_USER_NAMESPACE
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::{Ipv4Addr, TcpListener},
    };

    use super::*;
    use crate::host::proc_link;
    use reprise_ebpf::{V4_MAPPED, netns::identifier};

    fn key(address: Ipv4Addr, port: u16) -> ListenerKey {
        let link = fs::read_link("/proc/self/ns/net").unwrap();
        let inode = proc_link::inode_of(&link).unwrap();
        let address = u64::from(u32::from_ne_bytes(address.octets()));
        ListenerKey {
            local: [0, V4_MAPPED | address << 32],
            netns: identifier(inode as u32, 0),
            port,
            reserved: 0,
        }
    }

    #[test]
    fn the_process_that_listens_is_the_owner() {
        let processes = HostProcesses::detect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let any = TcpListener::bind("[::]:0").unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let keys = [&listener, &any, &closed].map(|one| key(Ipv4Addr::LOCALHOST, port(one)));
        let elsewhere = key([127, 0, 0, 2].into(), port(&listener));
        drop(closed);
        let found = search([keys.as_slice(), &[elsewhere]].concat(), processes);
        assert!(found.cost_ns > 0);
        let own = std::process::id();
        if processes.start(own).is_none() {
            // The agent's own processes are those of another namespace.
            return;
        }
        let owners = found
            .owners
            .iter()
            .map(|(_, owner)| owner.map(|owner| owner.tgid));
        let owners: Vec<_> = owners.collect();
        assert_eq!(owners, [Some(own), Some(own), None, None]);
        let started_ns = found.owners[0].1.unwrap().start.time_ns();
        assert!(started_ns <= found.begin_ns + 10_000_000);
    }
}
