//! The table of open handshakes: ends those of processes that ended, evicts some of a process that
//! has too many, and counts what the kernel evicted.

use std::{
    collections::HashMap as StdHashMap,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use reprise_ebpf::{
    Header,
    handshake::{
        HANDSHAKE, HIT_UNKNOWN, HandshakeEvent, MAX_OPEN, MAX_OPEN_PER_PROCESS, Open, OpenKey,
        SessionAge, SessionId, TlsProcess, open_count, outcome,
    },
};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::bpf::{
    clock::now_ns,
    error::SensorError,
    hash_map::{Batch, HashMap},
    program::take_map,
};

/// Interval at which the whole table is compared with the running processes, where the kernel
/// reports the end of each.
const FULL_INTERVAL: Duration = Duration::from_secs(60);
/// Entries from which the kernel may evict: half, since each CPU reserves some of the other half.
const MAY_EVICT: u64 = MAX_OPEN as u64 / 2;
/// Open handshakes that a process keeps when the others are evicted.
const KEPT_PER_PROCESS: usize = MAX_OPEN_PER_PROCESS as usize / 2;
/// Maximum number of ended processes between two sweeps; with more, the whole table is compared.
const MAX_ENDED: usize = 8_192;

/// Handshakes that began and have not ended.
pub(super) struct OpenHandshakes {
    table: HashMap,
    counts: PerCpuArray<MapData, u64>,
    processes: HashMap,
    released: HashMap,
    exits: ExitReports,
    /// Processes that ended with open handshakes since the last sweep.
    ended: StdHashMap<u32, EndedProcess>,
    full_at: Instant,
    is_full_due: bool,
    refused: u64,
    /// Entries that this struct removed.
    removed: u64,
    /// Entries that the kernel evicted.
    evicted_by_kernel: u64,
    /// Removed entries of processes that had too many.
    evicted_by_quota: u64,
}

/// What the kernel reports when a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExitReports {
    /// The end of the process.
    Processes,
    /// The end of the first thread, after which others may continue (before 6.16, and without ring
    /// buffers).
    FirstThreads,
    /// Nothing.
    None,
}

/// End of the program that a process ran.
#[derive(Debug, Clone, Copy)]
struct EndedProcess {
    time_ns: u64,
    /// Whether no thread of it can continue.
    certain: bool,
}

/// A process with too many open handshakes.
struct Crowded {
    /// As the programs count them.
    counted: i64,
    /// Time of the last receive, and key, of each in the table.
    open: Vec<(u64, OpenKey)>,
}

/// Counts after a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OpenCounts {
    /// Open handshakes.
    pub(crate) open: u64,
    /// Open handshakes that were evicted so far.
    pub(crate) evicted: u64,
}

impl OpenHandshakes {
    pub(super) fn new(ebpf: &mut Ebpf, exits: ExitReports) -> Result<Self, SensorError> {
        Ok(Self {
            table: HashMap::take(ebpf, "HS_OPEN")?,
            counts: take_map(ebpf, "HS_OPEN_COUNTS")?,
            processes: HashMap::take(ebpf, "HS_TASKS")?,
            released: HashMap::take(ebpf, "HS_RELEASED")?,
            exits,
            ended: StdHashMap::new(),
            full_at: Instant::now(),
            is_full_due: false,
            refused: 0,
            removed: 0,
            evicted_by_kernel: 0,
            evicted_by_quota: 0,
        })
    }

    /// Records that a process ended, or executed a new program, with open handshakes.
    pub(super) fn process_ended(&mut self, tgid: u32, time_ns: u64, by_exec: bool) {
        if self.ended.len() >= MAX_ENDED {
            self.is_full_due = true;
            return;
        }
        let certain = by_exec || self.exits == ExitReports::Processes;
        self.ended.insert(tgid, EndedProcess { time_ns, certain });
    }

    /// Removes the handshakes of processes that ended and passes one event for each to `ended`. The
    /// table is read only if it can have changed in a way that the programs do not count.
    pub(super) fn sweep(
        &mut self,
        mut is_alive: impl FnMut(u32) -> bool,
        mut ended: impl FnMut(&HandshakeEvent),
    ) -> OpenCounts {
        let full = self.is_full_due
            || self.exits == ExitReports::None
            || self.full_at.elapsed() >= FULL_INTERVAL;
        let refused = self.counted(open_count::REFUSED);
        let crowded = self.crowded_processes(refused);
        if full || !self.ended.is_empty() || !crowded.is_empty() || self.open() > MAY_EVICT {
            self.read_table(full, crowded, &mut is_alive, &mut ended);
        }
        self.refused = refused;
        self.ended.clear();
        if full {
            self.full_at = Instant::now();
            self.is_full_due = false;
        }
        OpenCounts {
            open: self.open(),
            evicted: self.evicted_by_kernel + self.evicted_by_quota,
        }
    }

    /// Reads the whole table, if it is `full` also for processes whose end was not reported.
    fn read_table(
        &mut self,
        full: bool,
        mut crowded: StdHashMap<u32, Crowded>,
        is_alive: &mut impl FnMut(u32) -> bool,
        ended: &mut impl FnMut(&HandshakeEvent),
    ) {
        // Handshakes that begin or end during the reading make the count of evictions too low until
        // the next one, never too high.
        let begun = self.counted(open_count::BEGUN);
        let (mut present, mut removed) = (0, 0);
        let mut batch = Batch::default();
        let mut reading = self.table.read();
        while reading.next(&mut batch) {
            for (key_bytes, value) in batch.entries() {
                let key = OpenKey::read_from_bytes(key_bytes);
                let (Ok(key), Ok(open)) = (key, Open::read_from_bytes(value)) else {
                    continue;
                };
                present += 1;
                let has_ended = match self.ended.get(&key.tgid) {
                    Some(end) if open.begin_ns <= end.time_ns => end.certain || !is_alive(key.tgid),
                    _ => full && !is_alive(key.tgid),
                };
                if has_ended {
                    if self.table.remove(key_bytes) {
                        removed += 1;
                        ended(&process_ended(&key, &open));
                    }
                } else if let Some(process) = crowded.get_mut(&key.tgid) {
                    process.open.push((open.heard_ns, key));
                }
            }
        }
        self.removed += removed;
        let gone = self.counted(open_count::ENDED) + self.removed + self.evicted_by_quota;
        let evicted = begun.saturating_sub(gone).saturating_sub(present - removed);
        self.evicted_by_kernel = self.evicted_by_kernel.max(evicted);
        for (tgid, process) in crowded {
            self.evict_idle(tgid, process);
        }
    }

    /// Evicts the handshakes of a crowded process that received nothing for longest.
    fn evict_idle(&mut self, tgid: u32, mut process: Crowded) {
        process.open.sort_unstable_by_key(|(heard_ns, _)| *heard_ns);
        let surplus = process.open.len().saturating_sub(KEPT_PER_PROCESS);
        let evicted = process.open[..surplus].iter();
        let evicted = evicted.filter(|(_, key)| self.table.remove(key.as_bytes()));
        self.evicted_by_quota += evicted.count() as u64;
        let kept = process.open.len() - surplus;
        let released = process.counted.saturating_sub(kept as i64);
        // If this fails, the programs refuse further handshakes of the process.
        let inserted = self
            .released
            .insert(&tgid.to_ne_bytes(), &released.to_ne_bytes());
        if let Err(error) = inserted {
            tracing::debug!(tgid, reason = %error, "quota of a process not updated");
        }
    }

    /// Processes that have as many open handshakes as a process may have; none if no handshake was
    /// refused since the last sweep.
    fn crowded_processes(&self, refused: u64) -> StdHashMap<u32, Crowded> {
        let mut crowded = StdHashMap::new();
        if refused == self.refused {
            return crowded;
        }
        let mut batch = Batch::default();
        let mut reading = self.processes.read();
        while reading.next(&mut batch) {
            for (key, value) in batch.entries() {
                let process = TlsProcess::read_from_bytes(value);
                let (Ok(tgid), Ok(process)) = (u32::read_from_bytes(key), process) else {
                    continue;
                };
                if process.open >= i64::from(MAX_OPEN_PER_PROCESS) {
                    let (counted, open) = (process.open, Vec::new());
                    crowded.insert(tgid, Crowded { counted, open });
                }
            }
        }
        crowded
    }

    /// Entries in the table, from the counts of the programs.
    fn open(&self) -> u64 {
        let gone = self.counted(open_count::ENDED)
            + self.removed
            + self.evicted_by_kernel
            + self.evicted_by_quota;
        self.counted(open_count::BEGUN).saturating_sub(gone)
    }

    /// Sum of one of the counts over all CPUs.
    fn counted(&self, index: u32) -> u64 {
        let counts = self.counts.get(&index, 0);
        counts.map_or(0, |counts| counts.iter().sum())
    }
}

/// The event of a handshake whose process ended.
fn process_ended(key: &OpenKey, open: &Open) -> HandshakeEvent {
    HandshakeEvent {
        header: Header {
            kind: HANDSHAKE,
            size: size_of::<HandshakeEvent>() as u32,
            time_ns: now_ns(),
        },
        ssl: key.ssl,
        begin_ns: open.begin_ns,
        library_ns: open.library_ns,
        heard_ns: open.heard_ns,
        tgid: key.tgid,
        tid: key.tgid,
        library: open.library,
        drives: open.drives,
        reason: open.reason,
        version: 0,
        outcome: outcome::PROCESS_ENDED,
        role: open.role as u8,
        hit: HIT_UNKNOWN,
        socket_source: open.socket_source as u8,
        flags: open.flags,
        comm: [0; 16],
        client_random: [0; 32],
        socket: open.socket,
        session: SessionAge::default(),
        session_id: SessionId::default(),
        rejected: open.rejected,
        rejected_ns: open.rejected_ns,
        cgroup: open.cgroup,
    }
}
