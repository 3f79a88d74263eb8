//! Processes that serve TLS: which of them still live, and which serve at the same time. Bounded:
//! the least recently used is evicted, and nothing is concluded about it afterwards.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::emptied::CacheHistory;

const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();
const MAX_EARLY_ENDS: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// Overlap from which two processes serve in parallel, nanoseconds. During a reload the old process
/// accepts a few more connections than the first of the new one.
const OVERLAP_NS: u64 = 100_000_000;
/// Time within which the kernel does not reuse a process ID, nanoseconds.
const REUSE_NS: u64 = 10_000_000_000;

/// One process, from its start or `execve` to its end. A process ID that is reused, or that
/// executes a new program, is another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ProcessId {
    pub(super) tgid: u32,
    generation: u32,
}

/// How the process that issued a session relates to the one that missed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// They are the same process.
    Same,
    /// The issuer has ended.
    Ended,
    /// Both live and serve in parallel.
    Parallel,
    /// Not known: the issuer may be another worker, or an old process that finishes its
    /// connections.
    Unclear,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    generation: u32,
    /// First generation of this process ID in an unbroken sequence: an earlier one may have been
    /// evicted.
    first_generation: u32,
    first_ns: u64,
    last_ns: u64,
    ended_ns: Option<u64>,
    replaced_by_exec: bool,
    /// Sessions that it issued, by kind.
    issued: [u64; 2],
    /// Its cache, by kind of session.
    caches: [CacheHistory; 2],
}

impl Process {
    /// Whether a handshake that began then is of this process. Older kernels report the end of the
    /// first thread, after which others may continue.
    fn continues(&self, begin_ns: u64) -> bool {
        self.ended_ns.is_none_or(|ended_ns| {
            let reuse_ns = if self.replaced_by_exec {
                ended_ns
            } else {
                ended_ns.saturating_add(REUSE_NS)
            };
            begin_ns < reuse_ns
        })
    }
}

/// End of a process.
#[derive(Debug, Clone, Copy)]
struct End {
    at_ns: u64,
    by_exec: bool,
}

/// Table of processes.
#[derive(Debug)]
pub(super) struct Processes {
    table: LruCache<u32, Process>,
    /// Ends of processes without a recorded handshake: a handshake is recorded some time after its
    /// end, and its process can end before that.
    early_ends: LruCache<u32, End>,
    next_generation: u32,
    evicted: u64,
}

impl Processes {
    pub(super) fn new() -> Self {
        Self {
            table: LruCache::new(MAX_PROCESSES),
            early_ends: LruCache::new(MAX_EARLY_ENDS),
            next_generation: 0,
            evicted: 0,
        }
    }

    /// Records a handshake that the process began at `begin_ns`.
    pub(super) fn observe(&mut self, tgid: u32, begin_ns: u64) -> ProcessId {
        if let Some(process) = self.table.get_mut(&tgid)
            && process.continues(begin_ns)
        {
            if process
                .ended_ns
                .is_some_and(|ended_ns| ended_ns <= begin_ns)
            {
                process.ended_ns = None;
            }
            process.first_ns = process.first_ns.min(begin_ns);
            process.last_ns = process.last_ns.max(begin_ns);
            let generation = process.generation;
            return ProcessId { tgid, generation };
        }
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let end = self.early_ends.pop(&tgid);
        let end = end.filter(|end| begin_ns < end.at_ns);
        let predecessor = self.table.peek(&tgid);
        let process = Process {
            generation,
            first_generation: predecessor.map_or(generation, |process| process.first_generation),
            first_ns: begin_ns,
            last_ns: begin_ns,
            ended_ns: end.map(|end| end.at_ns),
            replaced_by_exec: end.is_some_and(|end| end.by_exec),
            issued: [0; 2],
            caches: [CacheHistory::default(); 2],
        };
        let replaced = self.table.push(tgid, process);
        self.evicted += u64::from(replaced.is_some_and(|(other, _)| other != tgid));
        ProcessId { tgid, generation }
    }

    /// Records that the process ended, or executed a new program.
    pub(super) fn end(&mut self, tgid: u32, at_ns: u64, by_exec: bool) {
        let live = self.table.peek_mut(&tgid);
        let live = live.filter(|process| process.ended_ns.is_none());
        match live {
            Some(process) if process.last_ns <= at_ns => {
                process.replaced_by_exec = by_exec;
                process.ended_ns = Some(at_ns);
            }
            Some(_) => {}
            None => {
                self.early_ends.put(tgid, End { at_ns, by_exec });
            }
        }
    }

    /// Counts a session that the process issued; returns the count.
    pub(super) fn count_issued(&mut self, id: ProcessId, kind: usize) -> u64 {
        match self.get_mut(id) {
            Some(process) => {
                process.issued[kind] += 1;
                process.issued[kind]
            }
            None => 0,
        }
    }

    /// Sessions that the process issued; `None` for one that is not in the table.
    pub(super) fn issued(&self, id: ProcessId, kind: usize) -> Option<u64> {
        self.get(id).map(|process| process.issued[kind])
    }

    /// The cache of a process.
    pub(super) fn history(&self, id: ProcessId, kind: usize) -> Option<&CacheHistory> {
        self.get(id).map(|process| &process.caches[kind])
    }

    pub(super) fn change_history(
        &mut self,
        id: ProcessId,
        kind: usize,
        change: impl FnOnce(&mut CacheHistory),
    ) {
        if let Some(process) = self.get_mut(id) {
            change(&mut process.caches[kind]);
        }
    }

    /// Whether the process had ended by `at_ns`; `None` for one that was evicted.
    pub(super) fn has_ended(&self, id: ProcessId, at_ns: u64) -> Option<bool> {
        let process = self.table.peek(&id.tgid)?;
        if process.generation == id.generation {
            return Some(process.ended_ns.is_some_and(|ended_ns| ended_ns <= at_ns));
        }
        (id.generation >= process.first_generation).then_some(true)
    }

    /// Whether a process served its first handshake after the other had ended.
    pub(super) fn succeeded(&self, other: ProcessId, process: ProcessId) -> bool {
        let ended_ns = self.get(other).and_then(|other| other.ended_ns);
        let first_ns = self.get(process).map(|process| process.first_ns);
        ended_ns
            .zip(first_ns)
            .is_some_and(|(ended_ns, first_ns)| first_ns >= ended_ns)
    }

    /// Relation of an issuer to the process that missed its session at `at_ns`.
    pub(super) fn relation(&self, issuer: ProcessId, missed: ProcessId, at_ns: u64) -> Relation {
        if issuer == missed {
            return Relation::Same;
        }
        match self.has_ended(issuer, at_ns) {
            Some(true) => Relation::Ended,
            Some(false) => {
                let both = self.get(issuer).zip(self.get(missed));
                match both {
                    Some((one, other))
                        if one.last_ns > other.first_ns.saturating_add(OVERLAP_NS)
                            && other.last_ns >= one.first_ns =>
                    {
                        Relation::Parallel
                    }
                    _ => Relation::Unclear,
                }
            }
            None => Relation::Unclear,
        }
    }

    /// The same for a program that only the packets show, where the process is the owner of the
    /// listening socket: a new owner has replaced the earlier one.
    pub(super) fn listener_relation(
        &self,
        issuer: ProcessId,
        missed: ProcessId,
        at_ns: u64,
    ) -> Relation {
        match self.relation(issuer, missed, at_ns) {
            Relation::Parallel => Relation::Unclear,
            Relation::Unclear => match self.get(issuer).zip(self.get(missed)) {
                Some((one, other)) if one.last_ns < other.first_ns => Relation::Ended,
                _ => Relation::Unclear,
            },
            other => other,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Processes evicted because the table was full.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    fn get(&self, id: ProcessId) -> Option<&Process> {
        let process = self.table.peek(&id.tgid);
        process.filter(|process| process.generation == id.generation)
    }

    fn get_mut(&mut self, id: ProcessId) -> Option<&mut Process> {
        let process = self.table.peek_mut(&id.tgid);
        process.filter(|process| process.generation == id.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_process_ends_by_its_exit_and_a_reused_id_is_another() {
        let mut processes = Processes::new();
        let one = processes.observe(7, SECOND);
        assert_eq!(processes.observe(7, 2 * SECOND), one);
        processes.end(7, 3 * SECOND, false);
        assert_eq!(processes.has_ended(one, 2 * SECOND), Some(false));
        assert_eq!(processes.has_ended(one, 3 * SECOND), Some(true));
        assert_eq!(processes.observe(7, 2 * SECOND), one, "reported late");
        let other = processes.observe(7, 14 * SECOND);
        assert_ne!(other, one);
        assert_eq!(processes.relation(one, other, 14 * SECOND), Relation::Ended);
    }

    #[test]
    fn a_process_can_end_before_its_handshakes_are_recorded() {
        let mut processes = Processes::new();
        processes.end(7, 3 * SECOND, false);
        let one = processes.observe(7, 2 * SECOND);
        assert_eq!(processes.has_ended(one, 3 * SECOND), Some(true));
        let other = processes.observe(8, 4 * SECOND);
        processes.end(9, 4 * SECOND, true);
        let executed = processes.observe(9, 5 * SECOND);
        assert_eq!(processes.has_ended(other, 6 * SECOND), Some(false));
        assert_eq!(processes.has_ended(executed, 6 * SECOND), Some(false));
    }

    #[test]
    fn an_evicted_process_has_not_ended() {
        let mut processes = Processes::new();
        let one = processes.observe(7, SECOND);
        for tgid in 0..MAX_PROCESSES.get() as u32 {
            processes.observe(100 + tgid, 2 * SECOND);
        }
        assert!(processes.evicted() > 0);
        let again = processes.observe(7, 3 * SECOND);
        assert_eq!(processes.has_ended(one, 4 * SECOND), None);
        assert_eq!(
            processes.relation(one, again, 4 * SECOND),
            Relation::Unclear
        );
    }

    #[test]
    fn a_reload_is_not_two_workers_in_parallel() {
        let mut processes = Processes::new();
        let old = processes.observe(7, SECOND);
        let new = processes.observe(8, 10 * SECOND);
        processes.observe(7, 10 * SECOND + OVERLAP_NS / 2);
        assert_eq!(processes.relation(old, new, 11 * SECOND), Relation::Unclear);
        processes.observe(7, 11 * SECOND);
        assert_eq!(
            processes.relation(old, new, 12 * SECOND),
            Relation::Parallel
        );
    }
}
