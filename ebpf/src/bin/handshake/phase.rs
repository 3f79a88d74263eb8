//! The state of a handshake, read from the connection object by the rules of its library family.
//!
//! Called by `drive` at each begin and end of a drive. Reads only.

use crate::user;
use reprise_ebpf::{
    ABSENT,
    handshake::{Field, Layout, family, hook},
    kernel::Fault,
};

/// `enum MSG_FLOW_STATE` (ssl/statem/statem.h, unchanged from 1.1.0 to 4.0).
const FLOW_UNINITED: u32 = 0;
const FLOW_ERROR: u32 = 1;
const FLOW_FINISHED: u32 = 4;
/// `TLS_ST_BEFORE` and `TLS_ST_OK` of `OSSL_HANDSHAKE_STATE` (include/openssl/ssl.h.in).
const HAND_BEFORE: u32 = 0;
const HAND_OK: u32 = 1;
/// `SSL_ST_BEFORE`, a bit that no step of a running handshake has; `SSL_ST_OK`; `SSL_ST_ERR`
/// (include/openssl/ssl.h of 1.0.2).
const ONE_BEFORE: u32 = 0x4000;
const ONE_OK: u32 = 0x03;
const ONE_ERROR: u32 = 0x3005;
/// `SSL3_ST_SR_CLNT_HELLO_A`, `_B` and `SSL23_ST_SR_CLNT_HELLO_A`, `_B` (include/openssl/ssl3.h,
/// ssl23.h of 1.0.2): the server waits for a ClientHello.
const ONE_WAITS: [u32; 4] = [0x2110, 0x2111, 0x2210, 0x2211];
/// BoringSSL's servers wait for a ClientHello in their second state (`tls12_server_hs_state_t`,
/// ssl/handshake_server.cc).
const OBJECT_WAITS: u32 = 1;
/// `SSL_ERROR_WANT_READ` (include/openssl/ssl.h of BoringSSL).
const WANT_READ: u32 = 2;
/// `BIO_FLAGS_SHOULD_RETRY` (include/openssl/bio.h.in; the same in BoringSSL and LibreSSL).
const BIO_SHOULD_RETRY: u32 = 0x08;

pub(crate) enum Verdict {
    Pending,
    Completed,
    Failed,
}

/// Whether the drive that is about to run is the first of a handshake.
pub(crate) fn begins(layout: &Layout, ssl: u64) -> Result<bool, Fault> {
    if layout.family == family::HANDSHAKE_OBJECT {
        let object = user::pointer(ssl, &layout.handshake)?.unwrap_or(0);
        return Ok(object != 0 && user::number(ssl, &layout.state)? == Some(0));
    }
    let state = user::number(ssl, &layout.state)?.unwrap_or(FLOW_ERROR);
    if layout.family == family::ONE_NUMBER {
        return Ok(state & ONE_BEFORE != 0);
    }
    let hand = user::number(ssl, &layout.hand_state)?.unwrap_or(HAND_OK);
    Ok(state == FLOW_UNINITED && hand == HAND_BEFORE)
}

/// Whether a server still waits for its ClientHello.
pub(crate) fn waits_for_hello(layout: &Layout, ssl: u64) -> Result<bool, Fault> {
    let field = match layout.family {
        family::STATE_MACHINE => &layout.hand_state,
        _ => &layout.state,
    };
    let Some(state) = user::number(ssl, field)? else {
        return Ok(false);
    };
    Ok(match layout.family {
        family::STATE_MACHINE => state == HAND_BEFORE,
        family::ONE_NUMBER => ONE_WAITS.contains(&state),
        _ => state <= OBJECT_WAITS,
    })
}

/// Reads the verdict from the connection object, so that it holds at any instruction after the
/// state machine's loop. `rwstate` alone is "reading" after EOF and resets too, and an early-data
/// pause returns 1 before the handshake is done. `returned` is used only where the probed
/// function's exits are returns.
pub(crate) fn classify(layout: &Layout, ssl: u64, returned: i32) -> Result<Verdict, Fault> {
    let final_verdict = match layout.family {
        family::HANDSHAKE_OBJECT => of_object(layout, ssl, returned)?,
        family::ONE_NUMBER => of_one_number(layout, ssl)?,
        _ => of_state_machine(layout, ssl)?,
    };
    match final_verdict {
        Some(verdict) => Ok(verdict),
        None => of_waiting(layout, ssl),
    }
}

/// Whether the handshake has completed, asked outside any drive.
pub(crate) fn is_over(layout: &Layout, ssl: u64) -> Result<bool, Fault> {
    let verdict = match layout.family {
        family::HANDSHAKE_OBJECT => {
            return Ok(user::pointer(ssl, &layout.handshake)? == Some(0));
        }
        family::ONE_NUMBER => of_one_number(layout, ssl)?,
        _ => of_state_machine(layout, ssl)?,
    };
    Ok(matches!(verdict, Some(Verdict::Completed)))
}

fn of_state_machine(layout: &Layout, ssl: u64) -> Result<Option<Verdict>, Fault> {
    let state = user::number(ssl, &layout.state)?.unwrap_or(FLOW_ERROR);
    if state == FLOW_ERROR {
        return Ok(Some(Verdict::Failed));
    }
    if state != FLOW_FINISHED {
        return Ok(None);
    }
    let hand = user::number(ssl, &layout.hand_state)?.unwrap_or(HAND_BEFORE);
    let in_init = user::number(ssl, &layout.in_init)?.unwrap_or(0);
    Ok(Some(if hand == HAND_OK && in_init == 0 {
        Verdict::Completed
    } else {
        Verdict::Pending
    }))
}

fn of_one_number(layout: &Layout, ssl: u64) -> Result<Option<Verdict>, Fault> {
    Ok(
        match user::number(ssl, &layout.state)?.unwrap_or(ONE_ERROR) {
            ONE_OK => Some(Verdict::Completed),
            ONE_ERROR => Some(Verdict::Failed),
            _ => None,
        },
    )
}

/// `SSL_do_handshake` (ssl/ssl_lib.cc) frees the object once the handshake is done. It returns 1
/// with the object in place where the program may write early (False Start, early data): the
/// handshake is still open. Without a BIO the connection is QUIC's.
fn of_object(layout: &Layout, ssl: u64, returned: i32) -> Result<Option<Verdict>, Fault> {
    if returned > 0 && layout.hook & hook::RETURNS != 0 {
        return Ok(Some(match user::pointer(ssl, &layout.handshake)? {
            Some(0) => Verdict::Completed,
            _ => Verdict::Pending,
        }));
    }
    let no_bio = user::pointer(ssl, &layout.rbio)? == Some(0);
    let wants = user::number(ssl, &layout.rwstate)?;
    Ok((no_bio && wants == Some(WANT_READ)).then_some(Verdict::Pending))
}

/// The verdict on a handshake that is neither done nor in the error state: pending if it waits for
/// I/O or the program, else failed.
fn of_waiting(layout: &Layout, ssl: u64) -> Result<Verdict, Fault> {
    if let Some(want) = user::number(ssl, &layout.rwstate)?
        && want < u32::BITS
        && layout.wants >> want & 1 == 1
    {
        return Ok(Verdict::Pending);
    }
    let blind = [layout.bio_flags, layout.rbio.offset, layout.wbio.offset].contains(&ABSENT);
    if blind {
        // A retry and an end look the same: SSL_free decides.
        return Ok(Verdict::Pending);
    }
    let retry =
        should_retry(layout, ssl, &layout.rbio)? || should_retry(layout, ssl, &layout.wbio)?;
    Ok(if retry {
        Verdict::Pending
    } else {
        Verdict::Failed
    })
}

fn should_retry(layout: &Layout, ssl: u64, bio: &Field) -> Result<bool, Fault> {
    let bio = user::pointer(ssl, bio)?.unwrap_or(0);
    if bio == 0 {
        return Ok(false);
    }
    let flags: u32 = user::read(bio.wrapping_add(u64::from(layout.bio_flags)))?;
    Ok(flags & BIO_SHOULD_RETRY != 0)
}
