//! Handshakes that completed within the last second: in TLS 1.3 a client completes before the
//! server has verified the client's certificate, and the server's refusal is an alert after
//! completion.

use crate::{
    maps::{HS_COMPLETED, HS_EVENTS},
    user,
};
use aya_ebpf::EbpfContext;
use core::ptr::addr_of_mut;
use reprise_ebpf::{
    Header,
    completed::{Completed, WINDOW_NS},
    handshake::{ALERT, AlertEvent, Open, OpenKey},
    kernel::Fault,
};

/// Wire version of TLS 1.3.
const TLS13: u32 = 0x0304;
/// `SSL_AD_REASON_OFFSET` (include/openssl/ssl.h): reasons of received alerts begin here.
const ALERT_REASONS: u32 = 1000;
/// Alerts are bytes.
const MAX_ALERT: u32 = 255;

/// Records a completed handshake of TLS 1.3 under the address of its session.
#[inline(always)]
pub(crate) fn record(key: &OpenKey, open: &Open, session: u64, version: u32, now: u64) {
    if version != TLS13 || session == 0 {
        return;
    }
    let completed = Completed {
        ssl: key.ssl,
        time_ns: now,
        role: open.role,
        socket_source: open.socket_source,
        socket: open.socket,
    };
    // Where the insertion fails, an alert after completion is not reported.
    let _ = HS_COMPLETED.insert(OpenKey::new(key.tgid, session), completed, 0);
}

/// Emits an alert that the library has just read (`ssl3_read_bytes` raises an error with the alert
/// and then removes the session), where the session's handshake has just completed.
#[inline(always)]
pub(crate) fn try_alert(
    ctx: &impl EbpfContext,
    session: u64,
    reason: u32,
    now: u64,
) -> Result<(), Fault> {
    let alert = reason.wrapping_sub(ALERT_REASONS);
    if alert > MAX_ALERT {
        return Ok(());
    }
    let key = OpenKey::new((user::pid_tgid() >> 32) as u32, session);
    let Some(completed) = HS_COMPLETED.get_ptr(key) else {
        return Ok(());
    };
    // SAFETY: a live LRU entry; a concurrent eviction may recycle the slot, never unmap it.
    let completed = unsafe { &*completed };
    if now.saturating_sub(completed.time_ns) > WINDOW_NS {
        return Ok(());
    }
    // SAFETY: `event` is exclusively owned memory of the event's size; every field is written, and
    // there is no padding.
    let fill = |event: *mut AlertEvent| unsafe {
        addr_of_mut!((*event).header).write(Header {
            kind: ALERT,
            size: size_of::<AlertEvent>() as u32,
            time_ns: now,
        });
        addr_of_mut!((*event).ssl).write(completed.ssl);
        addr_of_mut!((*event).completed_ns).write(completed.time_ns);
        addr_of_mut!((*event).tgid).write(key.tgid);
        addr_of_mut!((*event).alert).write(alert);
        addr_of_mut!((*event).role).write(completed.role);
        addr_of_mut!((*event).socket_source).write(completed.socket_source);
        let from = &completed.socket;
        let socket = addr_of_mut!((*event).socket);
        addr_of_mut!((*socket).local).write([from.local[0], from.local[1]]);
        addr_of_mut!((*socket).remote).write([from.remote[0], from.remote[1]]);
        addr_of_mut!((*socket).local_port).write(from.local_port);
        addr_of_mut!((*socket).remote_port).write(from.remote_port);
        addr_of_mut!((*socket).netns).write(from.netns);
        addr_of_mut!((*socket).cookie).write(from.cookie);
    };
    // SAFETY: `fill` writes every byte, see above.
    let sent = unsafe { HS_EVENTS.send_filled(ctx, fill) };
    let _ = HS_COMPLETED.remove(key);
    sent
}
