//! Owners of listening sockets: when each was confirmed, and when it ended or lost its socket.

use std::collections::{HashMap, VecDeque};

use reprise_ebpf::listener::ListenerKey;

use crate::host::{ProcessStart, listeners::Owner};

/// Maximum number of processes that no longer own a socket and have not ended.
const MAX_FORMER: usize = 256;

/// A change of an owner, for the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) tgid: Option<u32>,
    pub(super) from_ns: u64,
}

/// What a sweep found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departed {
    /// A process ended.
    Process { tgid: u32, time_ns: u64 },
    /// The owner of an address is unknown since then.
    Owner { key: ListenerKey, from_ns: u64 },
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    owner: Option<Owner>,
    /// The last search whose result was applied.
    searched_ns: u64,
    /// When the owner was last known to run.
    alive_ns: u64,
}

/// A process that owned sockets until this time.
#[derive(Debug, Clone, Copy)]
struct Former {
    owner: Owner,
    until_ns: u64,
}

/// Table of owners, by address.
#[derive(Debug, Default)]
pub(super) struct Owners {
    known: HashMap<ListenerKey, Known>,
    former: VecDeque<Former>,
}

impl Owners {
    /// Records the result of a search that began at `begin_ns`, after the last change of the
    /// sockets at `changed_ns`; returns what the pipeline does not know yet.
    pub(super) fn found(
        &mut self,
        key: ListenerKey,
        found: Option<Owner>,
        changed_ns: u64,
        begin_ns: u64,
    ) -> [Option<Change>; 2] {
        let known = self.known.entry(key).or_default();
        let before = *known;
        let confirmed_ns = before.searched_ns.max(before.alive_ns);
        // The pipeline has this change already.
        let has_changed = changed_ns > before.searched_ns;
        *known = Known {
            owner: found,
            searched_ns: begin_ns,
            alive_ns: begin_ns,
        };
        if found == before.owner && !has_changed {
            return [None; 2];
        }
        if let Some(owner) = before.owner
            && found != before.owner
        {
            let until_ns = if has_changed {
                changed_ns
            } else {
                confirmed_ns
            };
            self.await_end(owner, until_ns);
        }
        let ended = (before.owner.is_some() && !has_changed).then_some(Change {
            tgid: None,
            from_ns: before.searched_ns,
        });
        let began = found.map(|owner| (owner.tgid, owner.start.time_ns()));
        let began = began.map(|(tgid, started_ns)| Change {
            tgid: Some(tgid),
            from_ns: if has_changed {
                started_ns.max(changed_ns)
            } else if started_ns >= confirmed_ns || before.searched_ns == 0 {
                // It was started since, or the first search for this address found it.
                started_ns
            } else {
                begin_ns
            },
        });
        [ended, began]
    }

    fn await_end(&mut self, owner: Owner, until_ns: u64) {
        if self.former.len() >= MAX_FORMER {
            self.former.pop_front();
        }
        self.former.push_back(Former { owner, until_ns });
    }

    /// Forgets an address.
    pub(super) fn remove(&mut self, key: &ListenerKey) {
        self.known.remove(key);
    }

    /// Finds the owners that no longer run. `start` gives when a process that runs was started,
    /// `changed_ns` the last change of an address.
    pub(super) fn sweep(
        &mut self,
        start: impl Fn(u32) -> Option<ProcessStart>,
        changed_ns: impl Fn(&ListenerKey) -> u64,
        now_ns: u64,
    ) -> Vec<Departed> {
        let mut cached = HashMap::new();
        let mut runs = |owner: &Owner| {
            let current = cached
                .entry(owner.tgid)
                .or_insert_with(|| start(owner.tgid));
            *current == Some(owner.start)
        };
        let mut departed = Vec::new();
        let mut ended = Vec::new();
        for (key, known) in &mut self.known {
            let Some(owner) = known.owner else { continue };
            if runs(&owner) {
                known.alive_ns = now_ns;
                continue;
            }
            known.owner = None;
            let changed_ns = changed_ns(key);
            let from_ns = match changed_ns > known.alive_ns {
                true => changed_ns,
                false => known.alive_ns,
            };
            departed.push(Departed::Owner { key: *key, from_ns });
            ended.push(Former {
                owner,
                until_ns: from_ns,
            });
        }
        self.former.retain(|former| {
            let runs = runs(&former.owner);
            if !runs {
                ended.push(*former);
            }
            runs
        });
        ended.sort_by_key(|former| (former.owner.tgid, former.until_ns));
        ended.dedup_by_key(|former| former.owner.tgid);
        departed.extend(ended.into_iter().map(|former| Departed::Process {
            tgid: former.owner.tgid,
            time_ns: former.until_ns,
        }));
        departed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn key() -> ListenerKey {
        ListenerKey {
            local: [0, 0],
            netns: 1,
            port: 443,
            reserved: 0,
        }
    }

    fn owner(tgid: u32, started_s: u64) -> Option<Owner> {
        let start = ProcessStart::from_ticks(started_s * 100 - 1);
        Some(Owner { tgid, start })
    }

    fn change(tgid: Option<u32>, from_ns: u64) -> Option<Change> {
        Some(Change { tgid, from_ns })
    }

    #[test]
    fn an_owner_is_valid_since_its_start_or_the_last_change() {
        let mut owners = Owners::default();
        let mut found = |owner, changed_s: u64, begin_s: u64| {
            owners.found(key(), owner, changed_s * SECOND, begin_s * SECOND)
        };
        let since_start = found(owner(7, 1_000), 0, 2_000);
        let at_s = |change: Option<Change>| change.map(|change| change.from_ns.div_ceil(SECOND));
        assert_eq!(at_s(since_start[1]), Some(1_000));
        assert_eq!(found(owner(7, 1_000), 0, 2_010), [None; 2]);
        let replaced = found(owner(8, 1_500), 2_015, 2_020);
        assert_eq!(replaced, [None, change(Some(8), 2_015 * SECOND)]);
        // The same socket, and another process: since its start, as the former had ended.
        let [ended, began] = found(owner(9, 2_025), 2_015, 2_030);
        assert_eq!(ended, change(None, 2_020 * SECOND));
        assert_eq!(at_s(began), Some(2_025));
        // A process that ran before takes the socket over at an unknown time.
        let [ended, began] = found(owner(8, 1_500), 2_015, 2_040);
        assert_eq!(ended, change(None, 2_030 * SECOND));
        assert_eq!(began, change(Some(8), 2_040 * SECOND));
        // Several hold it.
        let shared = found(None, 2_015, 2_050);
        assert_eq!(shared, [change(None, 2_040 * SECOND), None]);
    }

    #[test]
    fn a_sweep_finds_the_processes_that_ended() {
        let mut owners = Owners::default();
        owners.found(key(), owner(7, 1_000), 0, 2_000 * SECOND);
        let runs = |_| owner(7, 1_000).map(|owner| owner.start);
        assert!(owners.sweep(runs, |_| 0, 2_001 * SECOND).is_empty());
        let from_ns = 2_001 * SECOND;
        let departed = [
            Departed::Owner {
                key: key(),
                from_ns,
            },
            Departed::Process {
                tgid: 7,
                time_ns: from_ns,
            },
        ];
        assert_eq!(owners.sweep(|_| None, |_| 0, 2_002 * SECOND), departed);
        assert!(owners.sweep(|_| None, |_| 0, 2_003 * SECOND).is_empty());
        // One that was replaced ends later.
        owners.found(key(), owner(8, 2_003), 0, 2_004 * SECOND);
        owners.found(key(), owner(9, 2_005), 2_005 * SECOND, 2_006 * SECOND);
        let runs = |tgid| match tgid {
            9 => owner(9, 2_005).map(|owner| owner.start),
            _ => None,
        };
        let departed = owners.sweep(runs, |_| 2_005 * SECOND, 2_007 * SECOND);
        let time_ns = 2_005 * SECOND;
        assert_eq!(departed, [Departed::Process { tgid: 8, time_ns }]);
    }
}
