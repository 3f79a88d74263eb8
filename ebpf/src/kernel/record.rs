//! Reads tracepoint records at offsets that the agent parsed from the event's `format` file.

use super::{Fault, netns};
use crate::{ABSENT, Socket, TracepointLayout, V4_MAPPED};
use aya_ebpf::programs::TracePointContext;

/// `AF_INET` (include/linux/socket.h).
const AF_INET: u16 = 2;

/// Reads an integer at `offset`; zero where the record has no such field.
///
/// # Errors
///
/// [`Fault::Read`].
pub fn word<T: Copy + Default>(ctx: &TracePointContext, offset: u32) -> Result<T, Fault> {
    if offset == ABSENT {
        return Ok(T::default());
    }
    // SAFETY: a bpf_probe_read_kernel of the record, checked by the kernel; `T` is an integer or an
    // array of integers.
    unsafe { ctx.read_at(offset as usize) }.map_err(|_| Fault::Read)
}

/// Copies a layout that the agent set before loading.
#[must_use]
pub fn layout(global: &'static TracepointLayout) -> TracepointLayout {
    // SAFETY: reads a live static; volatile because the loader changes it, which the compiler
    // cannot know.
    unsafe { core::ptr::read_volatile(global) }
}

/// Reads the connection that a record names.
///
/// # Errors
///
/// [`Fault::Read`].
#[inline(always)]
pub fn socket(ctx: &TracePointContext, layout: &TracepointLayout) -> Result<Socket, Fault> {
    let (local, local_port, remote, remote_port) = if layout.sockaddr == 1 {
        let (local, local_port) = sockaddr(ctx, layout.saddr)?;
        let (remote, remote_port) = sockaddr(ctx, layout.daddr)?;
        (local, local_port, remote, remote_port)
    } else {
        (
            address(ctx, layout.saddr)?,
            word(ctx, layout.sport)?,
            address(ctx, layout.daddr)?,
            word(ctx, layout.dport)?,
        )
    };
    Ok(Socket {
        local,
        remote,
        local_port,
        remote_port,
        netns: netns::of_socket(word(ctx, layout.skaddr)?),
        cookie: word(ctx, layout.cookie)?,
    })
}

/// Reads sixteen bytes, word by word: zeroing an array would become `memset`, which BPF does not
/// have.
#[inline(always)]
fn address(ctx: &TracePointContext, offset: u32) -> Result<[u64; 2], Fault> {
    if offset == ABSENT {
        return Err(Fault::Read);
    }
    Ok([word(ctx, offset)?, word(ctx, offset + 8)?])
}

/// Reads a `struct sockaddr_in` or `sockaddr_in6` at `offset` (include/uapi/linux/in.h, in6.h):
/// family, port in network order, then the address 4 or 8 bytes in.
#[inline(always)]
fn sockaddr(ctx: &TracePointContext, offset: u32) -> Result<([u64; 2], u16), Fault> {
    if offset == ABSENT {
        return Err(Fault::Read);
    }
    let family: u16 = word(ctx, offset)?;
    let port: u16 = word(ctx, offset + 2)?;
    if family == AF_INET {
        let address: u32 = word(ctx, offset + 4)?;
        Ok((
            [0, V4_MAPPED | u64::from(address) << 32],
            u16::from_be(port),
        ))
    } else {
        Ok((address(ctx, offset + 8)?, u16::from_be(port)))
    }
}
