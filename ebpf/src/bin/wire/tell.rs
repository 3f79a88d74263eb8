//! What is sent to the agent: bytes in clear, headers of other records, ends.

use crate::{
    kernel::{Fault, now},
    maps::WIRE_EVENTS,
    packet,
};
use aya_ebpf::programs::SkBuffContext;
use core::ptr::addr_of_mut;
use reprise_ebpf::{
    Header, Socket,
    tcp::TcpEvent,
    wire::{Flight, SEGMENT, Segment, flight, what},
};

#[cfg_attr(not(feature = "ring"), path = "tell/perf.rs")]
#[cfg_attr(feature = "ring", path = "tell/ring.rs")]
mod way;
pub(crate) use way::tell;

/// Where a packet was seen.
pub(crate) struct Place {
    /// The connection.
    pub(crate) socket: Socket,
    /// A constant of `direction`.
    pub(crate) way: u8,
    /// Smoothed round-trip time, microseconds; 0 where not known.
    pub(crate) rtt_us: u32,
    /// The shortest one, microseconds; valid where the smoothed one is known.
    pub(crate) rtt_min_us: u32,
}

/// A segment and the bytes behind it, as they are sent.
#[repr(C)]
struct Told<const N: usize> {
    segment: Segment,
    bytes: [u8; N],
}

/// What a segment says beside its place.
pub(crate) struct Saying {
    what: u8,
    seq: u32,
    record: u32,
    at: u32,
    length: u32,
}

impl Saying {
    /// A record's header alone, or an end.
    #[inline(always)]
    pub(crate) const fn header(what: u8, seq: u32, record: u32) -> Self {
        Self {
            what,
            seq,
            record,
            at: 0,
            length: 0,
        }
    }

    /// Bytes in clear that lie at `at` in the packet.
    #[inline(always)]
    pub(crate) const fn bytes(flight: &Flight, seq: u32, left: u32, at: u32, length: u32) -> Self {
        let alert = flight.flags & flight::ALERT != 0;
        Self {
            what: if alert { what::ALERT } else { what::HANDSHAKE },
            seq,
            record: left,
            at,
            length,
        }
    }
}

/// Writes a segment and as many bytes behind it as it names; the agent reads no further.
///
/// # Safety
///
/// `told` must point at exclusively owned memory of its size.
#[inline(always)]
unsafe fn fill<const N: usize>(
    ctx: &SkBuffContext,
    place: &Place,
    repeats: u32,
    saying: &Saying,
    told: *mut Told<N>,
) -> Result<(), Fault> {
    // SAFETY: the caller's; written field by field, so that no uninitialised byte reaches user space.
    unsafe {
        let segment = addr_of_mut!((*told).segment);
        addr_of_mut!((*segment).header).write(Header {
            kind: SEGMENT,
            size: size_of::<Segment>() as u32 + saying.length,
            time_ns: now(),
        });
        let socket = addr_of_mut!((*segment).socket);
        addr_of_mut!((*socket).local).write([place.socket.local[0], place.socket.local[1]]);
        addr_of_mut!((*socket).remote).write([place.socket.remote[0], place.socket.remote[1]]);
        addr_of_mut!((*socket).local_port).write(place.socket.local_port);
        addr_of_mut!((*socket).remote_port).write(place.socket.remote_port);
        addr_of_mut!((*socket).reserved).write(0);
        addr_of_mut!((*socket).cookie).write(place.socket.cookie);
        addr_of_mut!((*segment).seq).write(saying.seq);
        addr_of_mut!((*segment).length).write(saying.length);
        addr_of_mut!((*segment).what).write(saying.what);
        addr_of_mut!((*segment).direction).write(place.way);
        addr_of_mut!((*segment).record).write(saying.record as u16);
        addr_of_mut!((*segment).repeats).write(repeats);
        addr_of_mut!((*segment).rtt_us).write(place.rtt_us);
        addr_of_mut!((*segment).reserved).write(0);
        match saying.length {
            0 => Ok(()),
            _ => {
                let bytes = addr_of_mut!((*told).bytes).cast();
                packet::copy(ctx, saying.at, bytes, bounded::<N>(saying))
            }
        }
    }
}

/// A length of 1 to `N` anyway, which is a power of two; spelled so that the verifier sees it.
#[inline(always)]
fn bounded<const N: usize>(saying: &Saying) -> u32 {
    // SAFETY: a live value; volatile, since the compiler sees the bounds too and would drop what follows.
    let length = unsafe { core::ptr::read_volatile(&raw const saying.length) };
    (length.wrapping_sub(1) & (N as u32 - 1)) + 1
}

/// Tells what TCP did: `kind` is a constant of `tcp`.
#[inline(always)]
pub(crate) fn mark(ctx: &SkBuffContext, socket: &Socket, kind: u32) -> Result<(), Fault> {
    // SAFETY: `event` is exclusively owned memory of the event's size; every field is written, and there is no padding.
    let fill = |event: *mut TcpEvent| unsafe {
        addr_of_mut!((*event).header).write(Header {
            kind,
            size: size_of::<TcpEvent>() as u32,
            time_ns: now(),
        });
        addr_of_mut!((*event).state).write(0);
        addr_of_mut!((*event).reserved).write(0);
        let told = addr_of_mut!((*event).socket);
        addr_of_mut!((*told).local).write([socket.local[0], socket.local[1]]);
        addr_of_mut!((*told).remote).write([socket.remote[0], socket.remote[1]]);
        addr_of_mut!((*told).local_port).write(socket.local_port);
        addr_of_mut!((*told).remote_port).write(socket.remote_port);
        addr_of_mut!((*told).reserved).write(0);
        addr_of_mut!((*told).cookie).write(socket.cookie);
    };
    // SAFETY: all of it, see above.
    unsafe { WIRE_EVENTS.send_filled(ctx, fill) }
}
