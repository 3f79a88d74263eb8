//! Maps of the `handshake` sensor. All bounded; the LRU ones forget the least recently used entry.

use crate::kernel::{Fault, events::Events};
use aya_ebpf::{
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray},
};
use reprise_ebpf::{
    Socket,
    handshake::{Layout, MAX_LIBRARIES, MAX_OPEN, Open, OpenKey, lost},
};

/// One call that drives the state machine, from entry to exit.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FrameKey {
    pub(crate) tgid: u32,
    pub(crate) reserved: u32,
    /// Stack pointer at function entry. Not the thread: fibres move between threads, frames do not move.
    pub(crate) sp: u64,
}

/// A call of `SSL_free`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Freeing {
    pub(crate) sp: u64,
    pub(crate) begin_ns: u64,
}

/// What [`FrameKey`] names.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) ssl: u64,
    /// Entry of the outermost frame of this drive.
    pub(crate) enter_ns: u64,
    /// 1 inside a drive of the same connection object, else 0.
    pub(crate) nested: u64,
}

/// The last receive of a thread, for programs whose library never touches the socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Received {
    pub(crate) socket: Socket,
    pub(crate) skaddr: u64,
    /// The connection object that claimed it; 0 while unclaimed.
    pub(crate) ssl: u64,
}

/// Finished handshakes and execs, to the agent.
#[map]
pub(crate) static HS_EVENTS: Events = Events::with_byte_size(4 * 1024 * 1024);
/// Ways to lose something, by `lost`. Read by the agent.
#[map]
pub(crate) static HS_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(lost::COUNT, 0);
/// Field offsets per library. Written by the agent before the library's probes are attached.
#[map]
pub(crate) static HS_LAYOUTS: Array<Layout> = Array::with_max_entries(MAX_LIBRARIES, 0);
/// Handshakes begun and not ended. Written by the drive programs; swept by the agent for processes that died.
#[map]
pub(crate) static HS_OPEN: LruHashMap<OpenKey, Open> = LruHashMap::with_max_entries(MAX_OPEN, 0);
/// One zeroed entry to insert from: building it on the stack would become `memset`. Never written.
#[map]
pub(crate) static HS_BLANK: Array<Open> = Array::with_max_entries(1, 0);
/// Drives under way.
#[map]
pub(crate) static HS_FRAMES: LruHashMap<FrameKey, Frame> = LruHashMap::with_max_entries(16_384, 0);
/// The drive each thread is in now, its outermost frame.
#[map]
pub(crate) static HS_ACTIVE: LruHashMap<u64, Frame> = LruHashMap::with_max_entries(16_384, 0);
/// The last `SSL_free` of each thread.
#[map]
pub(crate) static HS_FREEING: LruHashMap<u64, Freeing> = LruHashMap::with_max_entries(16_384, 0);
/// Kernel socket of each open handshake, back to its key.
#[map]
pub(crate) static HS_SOCKETS: LruHashMap<u64, OpenKey> = LruHashMap::with_max_entries(MAX_OPEN, 0);
/// Processes that drive handshakes: 1 once a receive fell inside a drive (socket BIOs), else 0.
#[map]
pub(crate) static HS_TASKS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(8_192, 0);
/// Last receive per thread of the processes that are 0 in [`HS_TASKS`].
#[map]
pub(crate) static HS_RECEIVED: LruHashMap<u64, Received> = LruHashMap::with_max_entries(16_384, 0);
/// Addresses of established connections by kernel socket, for receives and sends that are seen as calls. Unused where they are not.
#[map]
pub(crate) static HS_TUPLES: LruHashMap<u64, Socket> = LruHashMap::with_max_entries(MAX_OPEN, 0);
/// 1 at the process numbers, modulo [`DRIVERS`], of all that are or were in [`HS_TASKS`]. An array, whose look-up the kernel inlines: the
/// tracepoints that ask fire for each receive and send on the host. Numbers that fall together cost time only.
#[map]
static HS_DRIVERS: Array<u8> = Array::with_max_entries(DRIVERS, 0);
const DRIVERS: u32 = 1 << 15;

/// Notes a process as one that drives handshakes.
pub(crate) fn note_driver(tgid: u32) -> Result<(), Fault> {
    HS_DRIVERS
        .set(tgid % DRIVERS, 1, 0)
        .map_err(|_| Fault::MapFull)
}

/// Whether this process may drive handshakes; false for nearly all that do not.
#[inline(always)]
pub(crate) fn may_drive(tgid: u32) -> bool {
    HS_DRIVERS.get(tgid % DRIVERS) == Some(&1)
}
