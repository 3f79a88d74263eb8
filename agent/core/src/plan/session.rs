//! The layout of the session object, and where the library releases sessions: evidence for the
//! reasons of misses.
//!
//! Decoded from accessors like the connection's fields. Without a part, some miss reasons are
//! unknown; the plan remains complete.

use super::elf::Image;
use super::evidence::Evidence;
use super::field::Field;
use super::isa::{Call, Isa};
use super::probe_plan::Session;
use super::trace::{Access, Trace, Value};
use super::{points, session_lookup};

/// Decodes the parts that the image shows.
pub(super) fn decode(isa: &dyn Isa, ssl: &Image<'_>, evidence: &mut Evidence) -> Session {
    let call = |accessor: &str| Some(isa.interpret(ssl, ssl.symbol(accessor)?, Call::default()));
    let pointer = call("SSL_get_session").and_then(|trace| {
        let field = trace.field(trace.source(trace.returned?)?)?;
        field.in_connection().map(Field::direct)
    });
    let (id, id_length) = call("SSL_SESSION_get_id")
        .and_then(|trace| id_and_length(&trace))
        .unzip();
    let time = call("SSL_SESSION_get_time").and_then(|trace| only_read(&trace, &[8]));
    let session = Session {
        pointer,
        // From 3.3 on it calls `SSL_SESSION_get_time_ex`.
        time: time.or_else(|| only_read(&call("SSL_SESSION_get_time_ex")?, &[8])),
        timeout: call("SSL_SESSION_get_timeout").and_then(|trace| only_read(&trace, &[8])),
        id,
        id_length,
        rejections: Vec::new(),
        removal: None,
    };
    let probe = |function: &str| points::for_call(isa, ssl, ssl.symbol(function)?);
    let session = Session {
        // A probe is useful only with the fields that it reads.
        rejections: match (session.age(), session.pointer) {
            (Some(_), Some(pointer)) => session_lookup::find(isa, ssl, pointer.offset),
            _ => Vec::new(),
        },
        removal: session.id.and_then(|_| probe("SSL_CTX_remove_session")),
        ..session
    };
    evidence.push(("session", text(&session)));
    session
}

/// The offset of the only place that an accessor reads, if it has one of these sizes.
fn only_read(trace: &Trace, sizes: &[usize]) -> Option<u32> {
    match trace.reads.as_slice() {
        [Access { place, size, .. }] if sizes.contains(size) => place.in_root(),
        _ => None,
    }
}

/// Offsets of the ID and of its length: `SSL_SESSION_get_id(s, &length)` returns the ID's address
/// and stores its length.
fn id_and_length(trace: &Trace) -> Option<(u32, u32)> {
    let Value::Pointer(id) = trace.returned? else {
        return None;
    };
    Some((id.in_root()?, only_read(trace, &[4, 8])?))
}

/// Summary of the decoded parts.
fn text(session: &Session) -> String {
    let parts = [
        ("pointer", session.pointer.map(|field| field.offset)),
        ("time", session.time),
        ("timeout", session.timeout),
        ("session_id", session.id),
        ("session_id_length", session.id_length),
    ];
    let parts = parts.map(|(name, offset)| match offset {
        Some(offset) => format!("{name} {offset:#x}"),
        None => format!("{name} not found"),
    });
    let calls = session.rejections.len();
    format!("{}, rejected in {calls} places", parts.join(", "))
}
