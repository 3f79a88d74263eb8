//! Reads the network namespace of a socket, at offsets that the agent found in the kernel's BTF.

use crate::{
    ABSENT,
    netns::{NamespaceLayout, SOCKET_NAMESPACE, identifier},
};
use aya_ebpf::helpers::generated;
use zerocopy::FromZeros;

#[unsafe(no_mangle)]
static NETNS: NamespaceLayout = NamespaceLayout::UNKNOWN;

/// Copies the layout; `None` where the agent found none. The verifier knows the value then, and
/// skips what would need it.
#[inline(always)]
fn layout() -> Option<NamespaceLayout> {
    // SAFETY: reads a live static; volatile because the loader changes it, which the compiler
    // cannot know.
    let layout = unsafe { core::ptr::read_volatile(&raw const NETNS) };
    (layout.inode != ABSENT).then_some(layout)
}

/// Identifier of the network namespace of a kernel socket; 0 where it is unknown.
#[inline(always)]
#[must_use]
pub fn of_socket(skaddr: u64) -> u32 {
    match layout() {
        Some(layout) if skaddr != 0 => of_net(read(skaddr + u64::from(SOCKET_NAMESPACE)), &layout),
        _ => 0,
    }
}

/// The same for a socket that the verifier knows as one, on whose address it permits no arithmetic.
/// The helper is in `bpf_base_func_proto` (kernel/bpf/helpers.c), thus in packet programs, of every
/// kernel that loads the objects for ring buffers.
#[cfg(feature = "ring")]
#[inline(never)]
#[must_use]
pub fn of_packet(sk: *mut aya_ebpf::bindings::bpf_sock) -> u32 {
    use core::mem::MaybeUninit;

    const WORDS: usize = SOCKET_NAMESPACE as usize / 8 + 1;
    let Some(layout) = layout() else {
        return 0;
    };
    let mut head = MaybeUninit::<[u64; WORDS]>::uninit();
    let size = size_of::<[u64; WORDS]>() as u32;
    // SAFETY: the helper writes all of `head`, which it zeroes where it cannot read.
    let net = unsafe {
        generated::bpf_probe_read_kernel(head.as_mut_ptr().cast(), size, sk.cast());
        (*head.as_ptr())[WORDS - 1]
    };
    of_net(net, &layout)
}

/// Identifier of a `struct net`. A pointer that cannot be read is 0, and so is what it would lead
/// to: no branch is needed, after which the verifier would process two paths.
#[inline(always)]
fn of_net(net: u64, layout: &NamespaceLayout) -> u32 {
    let inode: u32 = read(net + u64::from(layout.inode));
    let user_namespace: u64 = read(net + u64::from(layout.user_namespace));
    let level: u32 = read(user_namespace + u64::from(layout.level));
    identifier(inode, level)
}

/// Reads the kernel's memory; 0 where it cannot be read.
#[inline(always)]
fn read<T: FromZeros>(address: u64) -> T {
    let mut value = T::new_zeroed();
    // SAFETY: the helper writes all of `value`, checks the address itself, and zeroes `value` where
    // it cannot read (kernel/trace/bpf_trace.c).
    unsafe {
        generated::bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            address as *const _,
        );
    }
    value
}
