//! Drives of the state machine: begin, continue, end. State is keyed by process and connection
//! object, never by thread.

use crate::{
    completed,
    maps::{
        Frame, FrameKey, HS_ACTIVE, HS_EVENTS, HS_FRAMES, HS_LAYOUTS, HS_OPEN, HS_RECEIVED,
        HS_SOCKETS, HS_UNSENT,
    },
    open,
    phase::{self, Verdict},
    process, session,
    socket::peer_closed,
    user,
};
use aya_ebpf::programs::ProbeContext;
use core::ptr::addr_of_mut;
use reprise_ebpf::{
    Header,
    handshake::{
        Field, HANDSHAKE, HIT_UNKNOWN, HandshakeEvent, Layout, Open, OpenKey, family, flag, hook,
        outcome, role, socket_source,
    },
    kernel::{self, Fault, now},
};

/// Two entries of one frame within this time, nanoseconds, are one call: a drive in between would
/// have had no exit.
const SAME_HIT_NS: u64 = 1_000_000;

pub(crate) fn try_enter(ctx: &ProbeContext) -> Result<(), Fault> {
    let ssl: u64 = ctx.arg(0).ok_or(Fault::Read)?;
    let library = user::cookie(ctx) as u32;
    let Some(layout) = HS_LAYOUTS.get(library) else {
        return Ok(());
    };
    let begins = phase::begins(layout, ssl)?;
    let pid_tgid = user::pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let key = OpenKey::new(tgid, ssl);
    let now = now();
    let at = FrameKey {
        tgid,
        reserved: 0,
        sp: user::stack_pointer(ctx),
    };
    // `ssl23_accept` calls `ssl3_accept` with the same object, and `tls13_legacy_accept` of
    // LibreSSL continues in it by a jump.
    let outer = if layout.family == family::ONE_NUMBER && !begins {
        // SAFETY: a live LRU entry keyed by this thread, so nobody else writes it now. Not copied:
        // the stack is limited.
        unsafe { HS_ACTIVE.get(pid_tgid) }.filter(|outer| outer.ssl == ssl)
    } else {
        None
    };
    // A file with two names (overlay file systems) can have the probe twice: the second hit is not
    // a drive. Nor is the continuation of the frame by a jump. SAFETY: a map value copied at once.
    if let Some(other) = unsafe { HS_FRAMES.get(at) }.copied()
        && other.ssl == ssl
        && (outer.is_some() || now - other.enter_ns < SAME_HIT_NS)
    {
        return Ok(());
    }
    if begins {
        if let Some(open) = HS_OPEN.get_ptr_mut(key) {
            // The object was cleared and is used again: its open handshake ended unfinished.
            end(
                ctx,
                layout,
                open,
                &Ending::new(key, outcome::RESTARTED, now),
            )?;
        }
        open::insert(&key)?;
    }
    // No entry: post-handshake traffic, or a handshake that began before the probes were attached.
    let Some(open) = HS_OPEN.get_ptr_mut(key) else {
        return Ok(());
    };
    // SAFETY: a live LRU entry; only drives of this one object write it, and a library object is
    // driven by one thread at a time. A concurrent eviction may recycle the slot, never unmap it.
    let open = unsafe { &mut *open };
    if begins {
        open.begin_ns = now;
        open.heard_ns = now;
        open.library = library;
        open.cgroup = kernel::process::cgroup();
        open.role = u32::from(role_of(layout, ssl, ctx)?);
    }
    // A nested frame belongs to the outer one's drive, which counts the time.
    if let Some(outer) = outer {
        return HS_FRAMES.insert(at, outer, 0).map_err(|_| Fault::MapFull);
    }
    open.drives += 1;
    // A client sends first: data that the thread received before its first drive is of another
    // connection.
    let speaks_first = begins && open.role == u32::from(role::CLIENT);
    if !process::receives_in_call(tgid) && !speaks_first {
        claim_last_receive(pid_tgid, ssl, open, now);
    }
    let frame = Frame {
        ssl,
        enter_ns: now,
        sp: at.sp,
    };
    HS_ACTIVE
        .insert(pid_tgid, frame, 0)
        .map_err(|_| Fault::MapFull)?;
    HS_FRAMES.insert(at, frame, 0).map_err(|_| Fault::MapFull)
}

fn role_of(layout: &Layout, ssl: u64, ctx: &ProbeContext) -> Result<u8, Fault> {
    let server = match user::number(ssl, &layout.server)? {
        None if layout.hook & hook::ROLE_IN_ARGUMENT != 0 => {
            Some(user::second_and_third(ctx).0 as u32)
        }
        known => known,
    };
    Ok(match server {
        None => role::UNKNOWN,
        Some(0) => role::CLIENT,
        Some(_) => role::SERVER,
    })
}

/// Attributes the thread's last receive to this handshake: with memory BIOs the program itself
/// receives before a drive. Not called for a process that receives inside drives, where other
/// receives are of other connections. A later drive may correct the attribution: a receive can also
/// be application data of another connection, which drives no handshake.
fn claim_last_receive(pid_tgid: u64, ssl: u64, open: &mut Open, now: u64) {
    let Some(received) = HS_RECEIVED.get_ptr_mut(pid_tgid) else {
        return;
    };
    // SAFETY: a live LRU entry keyed by this thread, so nobody else writes it now.
    let received = unsafe { &mut *received };
    if open.socket_source != u32::from(socket_source::IN_CALL) && received.ssl == 0 {
        received.ssl = ssl;
        open.heard_ns = now;
        if open.skaddr != 0 && open.skaddr != received.skaddr {
            let _ = HS_SOCKETS.remove(open.skaddr);
        }
        open.socket = received.socket;
        open.skaddr = received.skaddr;
        open.socket_source = u32::from(socket_source::BEFORE);
        open.flags |= peer_closed(received.skaddr);
        let key = OpenKey::new((pid_tgid >> 32) as u32, ssl);
        let _ = HS_SOCKETS.insert(received.skaddr, key, 0);
    }
}

/// Ends a drive that leaves the handshake open: errors raised in it were not fatal. And a server
/// that still waits for its ClientHello has consumed no data: the receive attributed to it was
/// another connection's.
fn end_pending(layout: &Layout, ssl: u64, open: &mut Open) -> Result<(), Fault> {
    if open.socket_source == u32::from(socket_source::NONE) && open.role == u32::from(role::CLIENT)
    {
        // Where the map is full the socket is identified by the first receive.
        let _ = HS_UNSENT.insert(user::pid_tgid(), ssl, 0);
    }
    open.reason = 0;
    open.flags &= !flag::ALERTED;
    if open.socket_source == u32::from(socket_source::BEFORE)
        && open.role == u32::from(role::SERVER)
        && phase::waits_for_hello(layout, ssl)?
    {
        let _ = HS_SOCKETS.remove(open.skaddr);
        open.skaddr = 0;
        open.socket_source = u32::from(socket_source::NONE);
    }
    Ok(())
}

pub(crate) fn try_exit(ctx: &ProbeContext) -> Result<(), Fault> {
    let cookie = user::cookie(ctx);
    let Some(layout) = HS_LAYOUTS.get(cookie as u32) else {
        return Ok(());
    };
    let pid_tgid = user::pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let at = FrameKey {
        tgid,
        reserved: 0,
        sp: user::stack_pointer(ctx).wrapping_add(cookie >> 32),
    };
    // SAFETY: a map value copied at once.
    let Some(frame) = unsafe { HS_FRAMES.get(at) }.copied() else {
        return Ok(());
    };
    let _ = HS_FRAMES.remove(at);
    let is_nested = frame.sp != at.sp;
    if !is_nested {
        let _ = HS_ACTIVE.remove(pid_tgid);
    }
    let key = OpenKey::new(tgid, frame.ssl);
    let Some(open) = HS_OPEN.get_ptr_mut(key) else {
        return Ok(());
    };
    let now = now();
    let verdict = phase::classify(layout, frame.ssl, user::returned(ctx))?;
    if is_nested && matches!(verdict, Verdict::Pending) {
        // The outer frame ends this drive.
        return Ok(());
    }
    // SAFETY: as in `try_enter`.
    unsafe { (*open).library_ns += now.saturating_sub(frame.enter_ns) };
    match verdict {
        // SAFETY: as in `try_enter`.
        Verdict::Pending => end_pending(layout, frame.ssl, unsafe { &mut *open }),
        Verdict::Completed => end(
            ctx,
            layout,
            open,
            &Ending::new(key, outcome::COMPLETED, now),
        ),
        Verdict::Failed => end(ctx, layout, open, &Ending::new(key, outcome::FAILED, now)),
    }
}

pub(crate) fn try_free(ctx: &ProbeContext) -> Result<(), Fault> {
    session::record_free(ctx)?;
    let tgid = (user::pid_tgid() >> 32) as u32;
    let key = OpenKey::new(tgid, ctx.arg(0).ok_or(Fault::Read)?);
    let Some(open) = HS_OPEN.get_ptr_mut(key) else {
        return Ok(());
    };
    // SAFETY: as in `try_enter`.
    let Some(layout) = HS_LAYOUTS.get(unsafe { (*open).library }) else {
        return Ok(());
    };
    // SSL_read may have completed what SSL_do_handshake began, or the drive that completed it has
    // been evicted: no failure, and too late for a time.
    if phase::is_over(layout, key.ssl)? {
        // SAFETY: as in `try_enter`.
        let skaddr = unsafe { (*open).skaddr };
        open::remove(&key);
        let _ = HS_SOCKETS.remove(skaddr);
        return Err(Fault::UnseenEnd);
    }
    end(ctx, layout, open, &Ending::new(key, outcome::FREED, now()))
}

/// End of a handshake: key, outcome and time.
struct Ending {
    key: OpenKey,
    how: u8,
    now: u64,
}

impl Ending {
    #[inline(always)]
    const fn new(key: OpenKey, how: u8, now: u64) -> Self {
        Self { key, how, now }
    }
}

/// Removes the handshake and sends its event. The removal comes first, so that a full buffer leaves
/// no entry.
fn end(ctx: &ProbeContext, layout: &Layout, open: *mut Open, ending: &Ending) -> Result<(), Fault> {
    let Ending { key, how, now } = *ending;
    // SAFETY: a live map value copied at once, before the entry is removed.
    let open = unsafe { core::ptr::read(open) };
    open::remove(&key);
    if open.skaddr != 0 {
        let _ = HS_SOCKETS.remove(open.skaddr);
    }
    // After SSL_clear the fields are those of the next handshake.
    let live = how != outcome::RESTARTED;
    // Numbers, not options: the compiler reads parts of an absent value, which the verifier
    // refuses.
    let (mut version, mut hit) = (0, HIT_UNKNOWN);
    if live {
        if let Some(number) = user::number(key.ssl, &layout.version)? {
            version = number;
        }
        if let Some(number) = user::number(key.ssl, &layout.hit)? {
            hit = u8::from(number != 0);
        }
    }
    let session = session::address(layout, key.ssl, how == outcome::COMPLETED);
    completed::record(&key, &open, session, version, now);
    // SAFETY: `event` is exclusively owned memory of the event's size; every field is written here,
    // field by field, so that no uninitialised byte reaches user space. The type has no padding.
    let fill = |event: *mut HandshakeEvent| unsafe {
        addr_of_mut!((*event).header).write(Header {
            kind: HANDSHAKE,
            size: size_of::<HandshakeEvent>() as u32,
            time_ns: now,
        });
        addr_of_mut!((*event).ssl).write(key.ssl);
        addr_of_mut!((*event).begin_ns).write(open.begin_ns);
        addr_of_mut!((*event).library_ns).write(open.library_ns);
        addr_of_mut!((*event).heard_ns).write(open.heard_ns);
        addr_of_mut!((*event).tgid).write(key.tgid);
        addr_of_mut!((*event).tid).write(user::pid_tgid() as u32);
        addr_of_mut!((*event).library).write(open.library);
        addr_of_mut!((*event).drives).write(open.drives);
        addr_of_mut!((*event).reason).write(open.reason);
        addr_of_mut!((*event).version).write(version);
        addr_of_mut!((*event).outcome).write(how);
        addr_of_mut!((*event).role).write(open.role as u8);
        addr_of_mut!((*event).hit).write(hit);
        addr_of_mut!((*event).socket_source).write(open.socket_source as u8);
        kernel::process::name(addr_of_mut!((*event).comm));
        addr_of_mut!((*event).socket).write(open.socket);
        addr_of_mut!((*event).rejected).write(open.rejected);
        addr_of_mut!((*event).rejected_ns).write(open.rejected_ns);
        addr_of_mut!((*event).cgroup).write(open.cgroup);
        session::describe(
            session,
            &layout.session_fields,
            addr_of_mut!((*event).session),
            addr_of_mut!((*event).session_id),
        );
        let mut flags = open.flags;
        if layout.hook & hook::LOOKUPS != 0 {
            flags |= flag::LOOKUPS;
        }
        let random = addr_of_mut!((*event).client_random);
        let from = if live {
            &layout.client_random
        } else {
            &Field::UNKNOWN
        };
        if user::copy(random, key.ssl, from) {
            flags |= flag::RANDOM;
        }
        addr_of_mut!((*event).flags).write(flags);
    };
    // SAFETY: `fill` writes every byte, see above.
    unsafe { HS_EVENTS.send_filled(ctx, fill) }
}
