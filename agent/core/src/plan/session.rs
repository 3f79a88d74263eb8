//! Where a session keeps its age and its ID, and where the library lets sessions go: what tells why one was not resumed.
//!
//! Called by `plan`. Decoded from accessors like the connection's fields; what is not found costs reasons, not the plan.

use serde::Serialize;

use super::elf::Image;
use super::isa::{Call, Isa};
use super::trace::{Access, Trace, Value};
use super::{Evidence, Field, ProbePoint, fields, points, turned_down};

/// Offsets are in the session object, bytes; `None` where not decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Pointer to the session, in the connection object.
    pub pointer: Option<Field>,
    /// `time`, eight bytes: seconds, from 3.2 on nanoseconds (`OSSL_TIME`, include/internal/time.h).
    pub time: Option<u32>,
    /// `timeout`, as `time`.
    pub timeout: Option<u32>,
    /// `session_id`, 32 bytes.
    pub id: Option<u32>,
    /// `session_id_length`, of which four bytes are read.
    pub id_length: Option<u32>,
    /// The calls by which a server lets a session go that it looked up and turned down, if all of them are known; the session is the
    /// first argument.
    pub turned_down: Vec<ProbePoint>,
    /// An instruction of `SSL_CTX_remove_session` that runs once in each call; the session is the second argument.
    pub removal: Option<ProbePoint>,
}

/// Decodes what there is.
pub(super) fn decode(isa: &dyn Isa, ssl: &Image<'_>, evidence: &mut Evidence) -> Session {
    let call = |accessor: &str| Some(isa.call(ssl, ssl.symbol(accessor)?, Call::default()));
    let pointer = call("SSL_get_session").and_then(|trace| {
        let field = trace.field(trace.source(trace.returned?)?)?;
        field.in_connection().map(Field::direct)
    });
    let (id, id_length) = call("SSL_SESSION_get_id")
        .and_then(|trace| named(&trace))
        .unzip();
    let time = call("SSL_SESSION_get_time").and_then(|trace| only_read(&trace, &[8]));
    let session = Session {
        pointer,
        // From 3.3 on the one calls the other.
        time: time.or_else(|| only_read(&call("SSL_SESSION_get_time_ex")?, &[8])),
        timeout: call("SSL_SESSION_get_timeout").and_then(|trace| only_read(&trace, &[8])),
        id,
        id_length,
        turned_down: Vec::new(),
        removal: None,
    };
    let probe = |function: &str| points::start_of(isa, ssl, ssl.symbol(function)?);
    let session = Session {
        // Worth a probe only with what it is to read.
        turned_down: match (session.age(), session.pointer) {
            (Some(_), Some(pointer)) => turned_down::find(isa, ssl, pointer.offset),
            _ => Vec::new(),
        },
        removal: session.id.and_then(|_| probe("SSL_CTX_remove_session")),
        ..session
    };
    evidence.push(("session", text(&session)));
    session
}

impl Session {
    /// Where begin and lifetime are, if both are known.
    #[must_use]
    pub fn age(&self) -> Option<(u32, u32)> {
        self.time.zip(self.timeout)
    }
}

/// The one place that an accessor reads, if it has one of these sizes.
fn only_read(trace: &Trace, sizes: &[usize]) -> Option<u32> {
    match trace.reads.as_slice() {
        [Access { place, size, .. }] if sizes.contains(size) => fields::in_root(*place),
        _ => None,
    }
}

/// `SSL_SESSION_get_id(s, &length)` returns the ID's address and stores its length.
fn named(trace: &Trace) -> Option<(u32, u32)> {
    let Value::Pointer(id) = trace.returned? else {
        return None;
    };
    Some((fields::in_root(id)?, only_read(trace, &[4, 8])?))
}

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
    let calls = session.turned_down.len();
    format!("{}, turned down in {calls} places", parts.join(", "))
}
