//! Maps of the `handshake` sensor. All are bounded; LRU maps evict the least recently used entry.

use aya_ebpf::{
    macros::map,
    maps::{Array, CgroupArray, HashMap, LruHashMap},
};
use reprise_ebpf::{
    Socket,
    completed::Completed,
    handshake::{Layout, MAX_LIBRARIES, MAX_OPEN, Open, OpenKey, TlsProcess, open_count},
    kernel::{Fault, atomic, counters::Counters, events::Events},
    listener::{ListenerKey, ListenerWindow, MAX_ADDRESSES},
};

/// Key of a drive: one call of the state machine, from entry to exit.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FrameKey {
    pub(crate) tgid: u32,
    pub(crate) reserved: u32,
    /// Stack pointer at function entry. Not the thread: fibres migrate between threads, stack
    /// frames do not move.
    pub(crate) sp: u64,
}

/// A call of `SSL_free`: stack pointer and time at entry, and its connection object.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Freeing {
    pub(crate) sp: u64,
    pub(crate) begin_ns: u64,
    pub(crate) ssl: u64,
}

/// A drive.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) ssl: u64,
    /// Time of entry into the outermost frame of this drive.
    pub(crate) enter_ns: u64,
    /// Stack pointer at entry of the outermost frame, as in its [`FrameKey`]. In the key of a frame
    /// nested in it, it is another one.
    pub(crate) sp: u64,
}

/// The last receive of a thread, for programs that use memory BIOs.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Received {
    pub(crate) socket: Socket,
    pub(crate) skaddr: u64,
    /// Connection object that the receive was attributed to; 0 before.
    pub(crate) ssl: u64,
}

/// The last error that a thread raised outside of a drive.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct LastError {
    pub(crate) time_ns: u64,
    /// Error reason.
    pub(crate) reason: u32,
    pub(crate) reserved: u32,
}

/// Handshake, session and process events, to the agent.
#[map]
pub(crate) static HS_EVENTS: Events = Events::with_byte_size(4 * 1024 * 1024);
/// Lost events by [`Fault`]. Read by the agent.
#[map]
pub(crate) static HS_LOST: Counters = Counters::of_faults();
/// The observed cgroup. Written by the agent before anything is attached; empty where the whole
/// host is observed.
#[map]
pub(crate) static HS_SCOPE: CgroupArray = CgroupArray::with_max_entries(1, 0);
/// Object layouts by library. Written by the agent before the library's probes are attached.
#[map]
pub(crate) static HS_LAYOUTS: Array<Layout> = Array::with_max_entries(MAX_LIBRARIES, 0);
/// Open handshakes. Written by the drive programs; the agent removes those of processes that ended,
/// and some of a process that has too many.
#[map]
pub(crate) static HS_OPEN: LruHashMap<OpenKey, Open> = LruHashMap::with_max_entries(MAX_OPEN, 0);
/// Number of insertions into and removals from [`HS_OPEN`], by [`open_count`]. Read by the agent.
#[map]
pub(crate) static HS_OPEN_COUNTS: Counters = Counters::new(open_count::COUNT);
/// Evicted handshakes that [`TlsProcess::open`] still contains, by process. Written by the agent
/// for processes that had too many.
#[map]
pub(crate) static HS_RELEASED: HashMap<u32, i64> = HashMap::with_max_entries(1_024, 0);
/// One zeroed entry to insert from: a zeroed value on the stack would become `memset`. Never
/// written.
#[map]
pub(crate) static HS_BLANK: Array<Open> = Array::with_max_entries(1, 0);
/// Running drives.
#[map]
pub(crate) static HS_FRAMES: LruHashMap<FrameKey, Frame> = LruHashMap::with_max_entries(16_384, 0);
/// The current drive of each thread, its outermost frame.
#[map]
pub(crate) static HS_ACTIVE: LruHashMap<u64, Frame> = LruHashMap::with_max_entries(16_384, 0);
/// The last `SSL_free` of each thread.
#[map]
pub(crate) static HS_FREEING: LruHashMap<u64, Freeing> = LruHashMap::with_max_entries(16_384, 0);
/// Last error of each thread outside of drives.
#[map]
pub(crate) static HS_ERRORS: LruHashMap<u64, LastError> = LruHashMap::with_max_entries(4_096, 0);
/// Recently completed handshakes by process and address of the session. The agent removes those
/// that are too old.
#[map]
pub(crate) static HS_COMPLETED: LruHashMap<OpenKey, Completed> =
    LruHashMap::with_max_entries(4_096, 0);
/// Keys of open handshakes by kernel socket.
#[map]
pub(crate) static HS_SOCKETS: LruHashMap<u64, OpenKey> = LruHashMap::with_max_entries(MAX_OPEN, 0);
/// Processes that drive handshakes, from their first drive to their end or `execve`.
#[map]
pub(crate) static HS_TASKS: LruHashMap<u32, TlsProcess> = LruHashMap::with_max_entries(8_192, 0);
/// Last receive of each thread of the processes that were not seen to receive inside a drive.
#[map]
pub(crate) static HS_RECEIVED: LruHashMap<u64, Received> = LruHashMap::with_max_entries(16_384, 0);
/// Handshake that each thread has just driven as a client without a known socket: with memory BIOs
/// the thread's next send is its ClientHello.
#[map]
pub(crate) static HS_UNSENT: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4_096, 0);
/// Addresses of established connections by kernel socket; `cookie` is 1 after the peer's
/// FIN, else 0.
/// Used only with `hs_recv_call` and `hs_send_call`.
#[map]
pub(crate) static HS_TUPLES: LruHashMap<u64, Socket> = LruHashMap::with_max_entries(MAX_OPEN, 0);
/// Addresses whose listening sockets are reported. Written by the agent; the state program counts
/// their events.
#[map]
pub(crate) static HS_LISTENERS: HashMap<ListenerKey, ListenerWindow> =
    HashMap::with_max_entries(MAX_ADDRESSES, 0);
/// Number of processes in [`HS_TASKS`], by process ID modulo [`DRIVERS`]. An array, since the
/// kernel inlines its lookup and the tracepoints that use it fire for each receive and send on the
/// host. A collision, or a count that stayed after an eviction from [`HS_TASKS`], costs only time.
#[map]
static HS_DRIVERS: Array<u64> = Array::with_max_entries(DRIVERS, 0);
const DRIVERS: u32 = 1 << 15;

/// Records that a process drives handshakes.
pub(crate) fn record_driver(tgid: u32) -> Result<(), Fault> {
    let count = HS_DRIVERS.get_ptr_mut(tgid % DRIVERS);
    let count = count.ok_or(Fault::MapFull)?;
    // SAFETY: a live array slot, which is written atomically.
    unsafe { atomic::add(count, 1) };
    Ok(())
}

/// Reverses one [`record_driver`].
pub(crate) fn forget_driver(tgid: u32) {
    if let Some(count) = HS_DRIVERS.get_ptr_mut(tgid % DRIVERS) {
        // SAFETY: as above.
        unsafe { atomic::add(count, u64::MAX) };
    }
}

/// Whether this process may drive handshakes; false for nearly all processes that do not.
#[inline(always)]
pub(crate) fn may_drive(tgid: u32) -> bool {
    HS_DRIVERS
        .get(tgid % DRIVERS)
        .is_some_and(|&count| count != 0)
}
