//! Listening sockets at the addresses that the agent registered.

use crate::maps::{HS_EVENTS, HS_LISTENERS};
use aya_ebpf::programs::TracePointContext;
use reprise_ebpf::{
    ABSENT, Header, TracepointLayout,
    kernel::{Fault, netns, now, record},
    listener::{CLOSED, ListenerEvent, ListenerKey, MAX_EVENTS, OPENED, WINDOW_NS},
    tcp::STATE_LISTEN,
};

/// `IPPROTO_TCP` (include/uapi/linux/in.h).
const TCP: u16 = 6;

/// Reports a socket that begins to listen or ceases to.
#[inline(never)]
pub(crate) fn try_change(
    ctx: &TracePointContext,
    layout: &TracepointLayout,
    state: u32,
) -> Result<(), Fault> {
    // Sockets of SCTP, DCCP and MPTCP have the same tracepoint.
    if layout.protocol != ABSENT && record::word::<u16>(ctx, layout.protocol)? != TCP {
        return Ok(());
    }
    let key = ListenerKey {
        local: [
            record::word(ctx, layout.saddr)?,
            record::word(ctx, layout.saddr + 8)?,
        ],
        netns: netns::of_socket(record::word(ctx, layout.skaddr)?),
        port: record::word(ctx, layout.sport)?,
        reserved: 0,
    };
    let Some(window) = HS_LISTENERS.get_ptr_mut(key) else {
        return Ok(());
    };
    let time_ns = now();
    // SAFETY: a live entry. Programs on two CPUs may count at once, which costs or saves an event.
    let events = unsafe {
        if time_ns - (*window).begin_ns >= WINDOW_NS {
            (*window).begin_ns = time_ns;
            (*window).events = 0;
        }
        (*window).events += 1;
        (*window).events
    };
    if events > MAX_EVENTS {
        return Ok(());
    }
    let event = ListenerEvent {
        header: Header {
            kind: if state == STATE_LISTEN {
                OPENED
            } else {
                CLOSED
            },
            size: size_of::<ListenerEvent>() as u32,
            time_ns,
        },
        key,
        limited: u32::from(events == MAX_EVENTS),
        reserved: 0,
    };
    HS_EVENTS.send(ctx, &event)
}
