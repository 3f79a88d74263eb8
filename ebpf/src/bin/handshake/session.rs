//! Sessions: created by a completed handshake, rejected by a server, removed from a cache.

use crate::{
    completed, error,
    maps::{Frame, Freeing, HS_ACTIVE, HS_EVENTS, HS_FREEING, HS_LAYOUTS, HS_OPEN},
    user,
};
use aya_ebpf::programs::ProbeContext;
use core::ptr::addr_of_mut;
use reprise_ebpf::{
    ABSENT, Header,
    handshake::{
        FORGET, ForgetEvent, Layout, OpenKey, SessionAge, SessionFields, SessionId, forgot, role,
    },
    kernel::{Fault, now},
};

/// Maximum duration of an `SSL_free`, nanoseconds; its exit is not probed.
const FREEING_NS: u64 = 100_000_000;

/// Returns the address of the session of the connection object at `ssl`; 0 where there is none, or
/// where it is not `wanted`.
pub(crate) fn address(layout: &Layout, ssl: u64, wanted: bool) -> u64 {
    if !wanted {
        return 0;
    }
    user::pointer(ssl, &layout.session)
        .ok()
        .flatten()
        .unwrap_or(0)
}

/// Writes age and ID of the session at `session`; zeroes for unknown fields, or where `session` is
/// 0.
///
/// # Safety
///
/// `age` and `id` must be valid for writes.
pub(crate) unsafe fn describe(
    session: u64,
    fields: &SessionFields,
    age: *mut SessionAge,
    id: *mut SessionId,
) {
    let word = |offset: u32| -> u64 {
        if session == 0 || offset == ABSENT {
            return 0;
        }
        user::read(session.wrapping_add(u64::from(offset))).unwrap_or(0)
    };
    let length = word(fields.id_length) as u32;
    let length = if length > SessionId::MAX || fields.id == ABSENT {
        0
    } else {
        length
    };
    let from = if length == 0 {
        0
    } else {
        session.wrapping_add(u64::from(fields.id))
    };
    // SAFETY: the caller guarantees both; `copy_from` writes all of the 32 bytes.
    unsafe {
        addr_of_mut!((*age).time).write(word(fields.time));
        addr_of_mut!((*age).timeout).write(word(fields.timeout));
        let copied = user::copy_from(addr_of_mut!((*id).bytes), from);
        addr_of_mut!((*id).length).write(if copied { length } else { 0 });
        addr_of_mut!((*id).reserved).write(0);
    }
}

/// Records the first session that a server releases in a handshake. The agent decides whether that
/// was before its answer.
pub(crate) fn try_rejected(ctx: &ProbeContext) -> Result<(), Fault> {
    let session: u64 = ctx.arg(0).ok_or(Fault::Read)?;
    let Some(key) = current_drive().filter(|_| session != 0) else {
        return Ok(());
    };
    let Some(layout) = HS_LAYOUTS.get(user::cookie(ctx) as u32) else {
        return Ok(());
    };
    let Some(open) = HS_OPEN.get_ptr_mut(key) else {
        return Ok(());
    };
    // SAFETY: a live LRU entry; this thread is inside the drive of that object, nobody else writes
    // it.
    let open = unsafe { &mut *open };
    if open.role != u32::from(role::SERVER) || open.rejected_ns != 0 {
        return Ok(());
    }
    let fields = &layout.session_fields;
    open.rejected.time = user::read(session.wrapping_add(u64::from(fields.time)))?;
    open.rejected.timeout = user::read(session.wrapping_add(u64::from(fields.timeout)))?;
    open.rejected_ns = now();
    Ok(())
}

/// Records a call of `SSL_free`.
pub(crate) fn record_free(ctx: &ProbeContext) -> Result<(), Fault> {
    let freeing = Freeing {
        sp: user::stack_pointer(ctx),
        begin_ns: now(),
        ssl: ctx.arg(0).ok_or(Fault::Read)?,
    };
    HS_FREEING
        .insert(user::pid_tgid(), freeing, 0)
        .map_err(|_| Fault::MapFull)
}

/// Emits an alert after completion, if that is why the session is removed, and the removal; but not
/// inside a client's handshake, since in TLS 1.3 each one
/// removes a session (`tls_process_new_session_ticket`), nor of sessions without an ID, which no
/// cache holds.
pub(crate) fn try_forget(ctx: &ProbeContext) -> Result<(), Fault> {
    let (session, _) = user::second_and_third(ctx);
    let Some(layout) = HS_LAYOUTS.get(user::cookie(ctx) as u32) else {
        return Ok(());
    };
    let fields = &layout.session_fields;
    if session == 0 || fields.id_length == ABSENT {
        return Ok(());
    }
    let now = now();
    let raised = error::just_raised(now);
    completed::try_alert(ctx, session, raised, now)?;
    let length: u32 = user::read(session.wrapping_add(u64::from(fields.id_length)))?;
    if length == 0 || length > SessionId::MAX {
        return Ok(());
    }
    let (mut ssl, mut reason) = (0, raised);
    let how = match current_drive() {
        Some(key) => {
            let Some(open) = HS_OPEN.get_ptr_mut(key) else {
                return Ok(());
            };
            // SAFETY: as in `try_rejected`.
            let open = unsafe { &*open };
            if open.role != u32::from(role::SERVER) {
                return Ok(());
            }
            ssl = key.ssl;
            reason = open.reason;
            forgot::DRIVING
        }
        None => match freed(ctx, now) {
            0 => forgot::ELSE,
            freed => {
                ssl = freed;
                forgot::FREEING
            }
        },
    };
    let mut shutdown = ABSENT;
    if ssl != 0
        && let Ok(Some(bits)) = user::number(ssl, &layout.shutdown)
    {
        shutdown = bits;
    }
    // SAFETY: `event` is exclusively owned memory of the event's size; every field is written here,
    // and there is no padding.
    let fill = |event: *mut ForgetEvent| unsafe {
        addr_of_mut!((*event).header).write(Header {
            kind: FORGET,
            size: size_of::<ForgetEvent>() as u32,
            time_ns: now,
        });
        addr_of_mut!((*event).tgid).write((user::pid_tgid() >> 32) as u32);
        addr_of_mut!((*event).how).write(how);
        describe(
            session,
            fields,
            addr_of_mut!((*event).session),
            addr_of_mut!((*event).session_id),
        );
        addr_of_mut!((*event).ssl).write(ssl);
        addr_of_mut!((*event).shutdown).write(shutdown);
        addr_of_mut!((*event).reason).write(reason);
    };
    // SAFETY: `fill` writes every byte, see above.
    unsafe { HS_EVENTS.send_filled(ctx, fill) }
}

/// Returns the handshake that this thread drives.
fn current_drive() -> Option<OpenKey> {
    let pid_tgid = user::pid_tgid();
    // SAFETY: a map value copied at once.
    let Frame { ssl, .. } = unsafe { HS_ACTIVE.get(pid_tgid) }.copied()?;
    Some(OpenKey::new((pid_tgid >> 32) as u32, ssl))
}

/// Returns the connection object that this thread is freeing; 0 for none. The thread is inside
/// `SSL_free` where it is deeper in the stack, and not long after the entry.
fn freed(ctx: &ProbeContext, now: u64) -> u64 {
    // SAFETY: a map value copied at once.
    match unsafe { HS_FREEING.get(user::pid_tgid()) }.copied() {
        Some(free)
            if user::stack_pointer(ctx) < free.sp
                && now.saturating_sub(free.begin_ns) < FREEING_NS =>
        {
            free.ssl
        }
        _ => 0,
    }
}
