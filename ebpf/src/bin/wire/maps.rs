//! Maps of the `wire` sensor.

use aya_ebpf::{
    bindings::bpf_sock,
    btf_maps::SkStorage,
    helpers::generated::bpf_sk_storage_get,
    macros::{btf_map, map},
    maps::{Array, LruHashMap},
};
use reprise_ebpf::{
    kernel::{counters::Counters, events::Events},
    wire::{State, Tuple},
};

/// The TCP handshake as the listener saw it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Opening {
    /// Arrival of the SYN, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) syn_ns: u64,
    /// Arrival of an ACK without data; 0 before.
    pub(crate) ack_ns: u64,
    /// First sequence number.
    pub(crate) seq: u32,
    /// Zero.
    pub(crate) reserved: u32,
}

/// `BPF_LOCAL_STORAGE_GET_F_CREATE` (include/uapi/linux/bpf.h).
const CREATE: u64 = 1;

/// Segments, to the agent.
#[map]
pub(crate) static WIRE_EVENTS: Events = Events::with_byte_size(8 * 1024 * 1024);
/// Lost events by `Fault`. Read by the agent.
#[map]
pub(crate) static WIRE_LOST: Counters = Counters::of_faults();
/// State of each connection, stored with its socket and freed with it.
#[btf_map]
pub(crate) static WIRE_STATE: SkStorage<State> = SkStorage::new();
/// State of connections that have data before they have a socket: the data completes the TCP
/// handshake, and the filter sees the listener (`tcp_v4_rcv`, net/ipv4/tcp_ipv4.c). Common for
/// servers that use `TCP_DEFER_ACCEPT`. Moves to [`WIRE_STATE`] at the socket's next packet.
#[map]
pub(crate) static WIRE_EARLY: LruHashMap<Tuple, State> = LruHashMap::with_max_entries(4096, 0);
/// Ports of this host, by network namespace, on which a ClientHello arrived recently. SYNs and gaps
/// are evidence there only.
#[map]
pub(crate) static WIRE_PORTS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(4096, 0);
/// TCP handshakes of the connections to [`WIRE_PORTS`].
#[map]
pub(crate) static WIRE_SYNS: LruHashMap<Tuple, Opening> = LruHashMap::with_max_entries(4096, 0);
/// One zeroed entry to insert from: a zeroed value on the stack would become `memset`. Never
/// written.
#[map]
pub(crate) static WIRE_BLANK: Array<State> = Array::with_max_entries(1, 0);

/// Returns the state stored with a socket, or null.
#[inline(always)]
pub(crate) fn stored(sk: *mut bpf_sock) -> *mut State {
    let map = core::ptr::addr_of!(WIRE_STATE).cast_mut();
    // SAFETY: a map of this object and a socket that the kernel passed to this run; returns null or
    // a live value.
    unsafe { bpf_sk_storage_get(map.cast(), sk.cast(), core::ptr::null_mut(), 0) }.cast()
}

/// Returns the state stored with a socket, created from `from` where there is none; null where the
/// socket's memory limit forbids it.
#[inline(always)]
pub(crate) fn store(sk: *mut bpf_sock, from: *const State) -> *mut State {
    let map = core::ptr::addr_of!(WIRE_STATE).cast_mut();
    // SAFETY: as above; `from` is a live map value, which the kernel copies.
    unsafe { bpf_sk_storage_get(map.cast(), sk.cast(), from.cast_mut().cast(), CREATE) }.cast()
}
