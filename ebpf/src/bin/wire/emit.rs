//! Segments for the agent: plaintext handshake bytes, headers of other records, FIN and RST.

use crate::{
    maps::WIRE_EVENTS,
    packet::{self, Packet},
};
use aya_ebpf::programs::SkBuffContext;
use core::ptr::addr_of_mut;
use reprise_ebpf::{
    Header, Socket,
    kernel::{Fault, now},
    tcp::TcpEvent,
    wire::{Flight, SEGMENT, Segment, flight, what},
};

#[cfg_attr(not(feature = "ring"), path = "emit/perf.rs")]
#[cfg_attr(feature = "ring", path = "emit/ring.rs")]
mod transport;
pub(crate) use transport::emit;

/// Connection and direction of the packet being processed.
pub(crate) struct PacketContext {
    /// The connection.
    pub(crate) socket: Socket,
    /// A constant of `direction`.
    pub(crate) way: u8,
    /// Smoothed round-trip time, microseconds; 0 where unknown.
    pub(crate) rtt_us: u32,
    /// Minimum round-trip time, microseconds; valid where the smoothed one is known.
    pub(crate) rtt_min_us: u32,
}

/// A segment and the bytes that follow it, as they are sent.
#[repr(C)]
struct Message<const N: usize> {
    segment: Segment,
    bytes: [u8; N],
}

/// Content of a segment. Without padding: kernels before 6.3 reject programs that copy it.
pub(crate) struct Content {
    what: u32,
    seq: u32,
    record: u32,
    at: u32,
    length: u32,
    age_ms: u32,
    skipped: u32,
}

impl Content {
    /// A record header, after as many bytes of records that are not emitted.
    #[inline(always)]
    pub(crate) const fn header(what: u8, seq: u32, record: u32, skipped: u32) -> Self {
        Self {
            what: what as u32,
            seq,
            record,
            at: 0,
            length: 0,
            age_ms: 0,
            skipped,
        }
    }

    /// FIN or RST on a connection of this age: [`Segment::age_ms`].
    #[inline(always)]
    pub(crate) const fn end(what: u8, seq: u32, age_ms: u32) -> Self {
        Self {
            age_ms,
            ..Self::header(what, seq, 0, 0)
        }
    }

    /// The packet's first bytes, at least one.
    #[inline(always)]
    pub(crate) const fn first(what: u8, packet: &Packet, length: u32) -> Self {
        Self {
            at: packet.at,
            length,
            ..Self::header(what, packet.seq, 0, 0)
        }
    }

    /// Plaintext bytes at offset `at` of the packet.
    #[inline(always)]
    pub(crate) const fn bytes(flight: &Flight, seq: u32, left: u32, at: u32, length: u32) -> Self {
        let alert = flight.flags & flight::ALERT != 0;
        Self {
            what: if alert { what::ALERT } else { what::HANDSHAKE } as u32,
            seq,
            record: left,
            at,
            length,
            age_ms: 0,
            skipped: flight.skipped,
        }
    }
}

/// Not 0 where the kernel has the helper in packet programs (5.8). Elsewhere the verifier removes
/// the call.
#[cfg(feature = "ring")]
#[unsafe(no_mangle)]
static HAS_SK_CGROUP: u32 = 0;

/// Returns [`Segment::cgroup`]. A socket has the cgroup of the process that created it, and an
/// accepted one that of its listener (`cgroup_sk_clone`, kernel/cgroup/cgroup.c).
#[inline(always)]
fn cgroup(ctx: &SkBuffContext) -> u64 {
    #[cfg(feature = "ring")]
    // SAFETY: reads a live static; volatile because the loader changes it, which the compiler
    // cannot know.
    if unsafe { core::ptr::read_volatile(&raw const HAS_SK_CGROUP) } != 0 {
        // SAFETY: the context is live during the run.
        return unsafe { aya_ebpf::helpers::generated::bpf_skb_cgroup_id(ctx.skb.skb.cast()) };
    }
    let _ = ctx;
    0
}

/// Writes a segment and [`Segment::length`] bytes after it; the agent reads no further.
///
/// # Safety
///
/// `message` must point at exclusively owned memory of its size.
#[inline(always)]
unsafe fn fill<const N: usize>(
    ctx: &SkBuffContext,
    at: &PacketContext,
    repeats: u32,
    content: &Content,
    message: *mut Message<N>,
) -> Result<(), Fault> {
    // SAFETY: guaranteed by the caller; written field by field, so that no uninitialised byte
    // reaches user space.
    unsafe {
        let segment = addr_of_mut!((*message).segment);
        addr_of_mut!((*segment).header).write(Header {
            kind: SEGMENT,
            size: size_of::<Segment>() as u32 + content.length,
            time_ns: now(),
        });
        let socket = addr_of_mut!((*segment).socket);
        addr_of_mut!((*socket).local).write([at.socket.local[0], at.socket.local[1]]);
        addr_of_mut!((*socket).remote).write([at.socket.remote[0], at.socket.remote[1]]);
        addr_of_mut!((*socket).local_port).write(at.socket.local_port);
        addr_of_mut!((*socket).remote_port).write(at.socket.remote_port);
        addr_of_mut!((*socket).netns).write(at.socket.netns);
        addr_of_mut!((*socket).cookie).write(at.socket.cookie);
        addr_of_mut!((*segment).seq).write(content.seq);
        addr_of_mut!((*segment).length).write(content.length);
        addr_of_mut!((*segment).what).write(content.what as u8);
        addr_of_mut!((*segment).direction).write(at.way);
        addr_of_mut!((*segment).record).write(content.record as u16);
        addr_of_mut!((*segment).repeats).write(repeats);
        addr_of_mut!((*segment).rtt_us).write(at.rtt_us);
        addr_of_mut!((*segment).age_ms).write(content.age_ms);
        addr_of_mut!((*segment).cgroup).write(cgroup(ctx));
        addr_of_mut!((*segment).skipped).write(content.skipped);
        addr_of_mut!((*segment).reserved).write(0);
        match content.length {
            0 => Ok(()),
            _ => {
                let bytes = addr_of_mut!((*message).bytes).cast();
                let length = bounded::<N>(addr_of_mut!((*segment).length));
                packet::copy(ctx, content.at, bytes, length)
            }
        }
    }
}

/// Returns the length, which is 1 to `N` already, with a mask that the verifier understands; `N` is
/// a power of two. Reads it from the message, whose content the verifier does not track: it would
/// otherwise follow the length back through every step of the loop, and process six times as many
/// instructions.
///
/// # Safety
///
/// `length` must point at the length of a live message.
#[inline(always)]
unsafe fn bounded<const N: usize>(length: *const u32) -> u32 {
    // SAFETY: guaranteed by the caller; volatile, since the compiler knows the bounds and would
    // drop the mask.
    let length = unsafe { core::ptr::read_volatile(length) };
    (length.wrapping_sub(1) & (N as u32 - 1)) + 1
}

/// Emits a TCP event; `kind` is a constant of [`reprise_ebpf::tcp`].
#[inline(always)]
pub(crate) fn emit_tcp(ctx: &SkBuffContext, socket: &Socket, kind: u32) -> Result<(), Fault> {
    // SAFETY: `event` is exclusively owned memory of the event's size; every field is written, and
    // there is no padding.
    let fill = |event: *mut TcpEvent| unsafe {
        addr_of_mut!((*event).header).write(Header {
            kind,
            size: size_of::<TcpEvent>() as u32,
            time_ns: now(),
        });
        addr_of_mut!((*event).state).write(0);
        addr_of_mut!((*event).error).write(0);
        let message = addr_of_mut!((*event).socket);
        addr_of_mut!((*message).local).write([socket.local[0], socket.local[1]]);
        addr_of_mut!((*message).remote).write([socket.remote[0], socket.remote[1]]);
        addr_of_mut!((*message).local_port).write(socket.local_port);
        addr_of_mut!((*message).remote_port).write(socket.remote_port);
        addr_of_mut!((*message).netns).write(socket.netns);
        addr_of_mut!((*message).cookie).write(socket.cookie);
    };
    // SAFETY: `fill` writes every byte, see above.
    unsafe { WIRE_EVENTS.send_filled(ctx, fill) }
}
