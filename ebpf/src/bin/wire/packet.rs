//! Parses one packet: the offset of its TCP payload and its position in the stream.

use aya_ebpf::{helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext};
use reprise_ebpf::{V4_MAPPED, kernel::Fault, wire::Tuple};

/// `IPPROTO_TCP` (include/uapi/linux/in.h).
pub(crate) const TCP: u32 = 6;
/// `TCPHDR_FIN` and so on (include/net/tcp.h).
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A TCP segment.
pub(crate) struct Packet {
    /// Offset of the payload in the packet.
    pub(crate) at: u32,
    /// End of the packet.
    pub(crate) end: u32,
    /// Sequence number of the payload's first byte.
    pub(crate) seq: u32,
    /// Acknowledgement number; valid where [`Self::acks`].
    pub(crate) ack: u32,
    /// Offset of the TCP header.
    tcp: u32,
    /// TCP flags as one byte. With one `bool` each, older verifiers process every combination.
    flags: u8,
    /// First byte of the IP header.
    first: u8,
}

/// Reads a `T` at `offset`, in linear and paged packets alike.
#[inline(always)]
pub(crate) fn load<T>(ctx: &SkBuffContext, offset: u32) -> Result<T, Fault> {
    ctx.load(offset as usize).map_err(|_| Fault::Read)
}

/// Copies `length` bytes at `offset` to `to`.
///
/// # Safety
///
/// `to` must be valid for writes of `length` bytes.
#[inline(always)]
pub(crate) unsafe fn copy(
    ctx: &SkBuffContext,
    offset: u32,
    to: *mut u8,
    length: u32,
) -> Result<(), Fault> {
    // SAFETY: guaranteed by the caller; the kernel checks the packet's bounds, the verifier those
    // of `to`.
    match unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), offset, to.cast(), length) } {
        0 => Ok(()),
        _ => Err(Fault::Read),
    }
}

/// Parses the headers; `None` where this is no TCP. At a cgroup hook the packet begins with its IP
/// header.
#[inline(always)]
pub(crate) fn parse(ctx: &SkBuffContext) -> Result<Option<Packet>, Fault> {
    let first: u8 = load(ctx, 0)?;
    let six = first >> 4 == 6;
    // With TLS over IPv6, extension headers occur only in jumbograms, which carry no first flight.
    let (tcp, protocol): (u32, u8) = if six {
        (40, load(ctx, 6)?)
    } else {
        (u32::from(first & 15) * 4, load(ctx, 9)?)
    };
    if u32::from(protocol) != TCP {
        return Ok(None);
    }
    let seq: u32 = load(ctx, tcp + 4)?;
    let ack: u32 = load(ctx, tcp + 8)?;
    let length: u8 = load(ctx, tcp + 12)?;
    let flags: u8 = load(ctx, tcp + 13)?;
    let at = tcp + u32::from(length >> 4) * 4;
    Ok(Some(Packet {
        at,
        end: ctx.len(),
        // The SYN has a sequence number of its own.
        seq: u32::from_be(seq).wrapping_add(u32::from(flags & SYN != 0)),
        ack: u32::from_be(ack),
        tcp,
        flags,
        first,
    }))
}

impl Packet {
    /// Whether FIN is set.
    #[inline(always)]
    pub(crate) const fn fin(&self) -> bool {
        self.flags & FIN != 0
    }

    /// Whether SYN is set.
    #[inline(always)]
    pub(crate) const fn syn(&self) -> bool {
        self.flags & SYN != 0
    }

    /// Whether RST is set.
    #[inline(always)]
    pub(crate) const fn rst(&self) -> bool {
        self.flags & RST != 0
    }

    /// Whether ACK is set.
    #[inline(always)]
    pub(crate) const fn acks(&self) -> bool {
        self.flags & ACK != 0
    }

    /// Whether it carries data or closes the stream.
    #[inline(always)]
    pub(crate) const fn is_relevant(&self) -> bool {
        self.at < self.end || self.flags & (FIN | RST) != 0
    }

    /// Length of the payload, bytes.
    #[inline(always)]
    pub(crate) const fn length(&self) -> u32 {
        self.end.saturating_sub(self.at)
    }

    /// Connection of an incoming packet in this network namespace.
    #[inline(always)]
    pub(crate) fn incoming_tuple(&self, ctx: &SkBuffContext, netns: u32) -> Result<Tuple, Fault> {
        let (remote, local): ([u64; 2], [u64; 2]) = if self.first >> 4 == 6 {
            (
                [load(ctx, 8)?, load(ctx, 16)?],
                [load(ctx, 24)?, load(ctx, 32)?],
            )
        } else {
            let (source, destination): (u32, u32) = (load(ctx, 12)?, load(ctx, 16)?);
            (v4_mapped(source), v4_mapped(destination))
        };
        let (remote_port, local_port): (u16, u16) =
            (load(ctx, self.tcp)?, load(ctx, self.tcp + 2)?);
        Ok(Tuple {
            local,
            remote,
            local_port: u16::from_be(local_port),
            remote_port: u16::from_be(remote_port),
            netns,
        })
    }
}

/// Converts an IPv4 address in network order to `::ffff:a.b.c.d`.
#[inline(always)]
pub(crate) const fn v4_mapped(address: u32) -> [u64; 2] {
    [0, V4_MAPPED | (address as u64) << 32]
}
