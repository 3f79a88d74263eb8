//! Where a session keeps its age and its ID, and where the library lets sessions go: what tells why one was not resumed.
//!
//! Called by `plan`. Decoded from accessors like the connection's fields; what is not found costs reasons, not the plan.

use serde::Serialize;

use super::cfg::Graph;
use super::elf::Image;
use super::isa::{Call, Flow, Isa};
use super::trace::{Access, Trace, Value};
use super::{Evidence, Field, ProbePoint, fields, points};

/// Instructions at a function's start that may be looked at.
const EARLY: usize = 8;
/// What no function returns: tells that a run came to where it was to end.
const MARK: u64 = 0x5e55;

/// Offsets are in the session object, bytes; `None` where not decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
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
    /// An instruction of `SSL_SESSION_free` that runs once in each call with a session, the first argument. Most calls have none, and
    /// pass by it where the code allows.
    pub end: Option<ProbePoint>,
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
        end: None,
        removal: None,
    };
    let probe = |function: &str| points::start_of(isa, ssl, ssl.symbol(function)?);
    let session = Session {
        // Worth a probe only with what it is to read.
        end: session.age().and_then(|_| {
            let function = "SSL_SESSION_free";
            behind_null_check(isa, ssl, ssl.symbol(function)?).or_else(|| probe(function))
        }),
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

/// A cheap instruction near the start of a function that runs where its first argument is an object, and not where it is null: still
/// among those that save registers, so that the arguments are in place.
fn behind_null_check(isa: &dyn Isa, ssl: &Image<'_>, function: u64) -> Option<ProbePoint> {
    let reaches = |at: u64, number: Option<u64>| {
        let call = Call {
            number,
            command: Some(MARK),
            until: Some(at),
            ..Call::default()
        };
        isa.call(ssl, function, call).returned == Some(Value::Number(MARK))
    };
    let graph = Graph::walk(isa, ssl, &[function]).ok()?;
    let early = graph.nodes.range(function..).take(EARLY);
    let mut cheap = early
        .filter(|(_, node)| node.insn.emulated && node.insn.flow == Flow::Next)
        .map(|(at, _)| *at);
    let at = cheap.find(|at| reaches(*at, None) && !reaches(*at, Some(0)))?;
    points::point(isa, ssl, at, 0)
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
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::isa;
    use crate::plan::tests::{CODE, elf_of, image_of};

    fn at(code: &[u8]) -> Option<u64> {
        let image = image_of(&elf_of(code));
        let isa = isa::for_machine(image.machine).expect("x86-64");
        let point = behind_null_check(isa.as_ref(), &image, CODE)?;
        let start = image.file_offset(CODE).expect("in the file");
        point.emulated.then_some(point.offset - start)
    }

    #[test]
    fn calls_without_a_session_pass_by_the_probe() {
        // SSL_SESSION_free of 3.0: test rdi, rdi; je ret; push rbp; mov eax, -1; push rbx; pop; pop; ret
        let code = [
            0x48, 0x85, 0xff, 0x74, 0x09, 0x55, 0xb8, 0xff, 0xff, 0xff, 0xff, 0x53, 0x5b, 0x5d,
            0xc3,
        ];
        assert_eq!(at(&code), Some(5));
        // Registers are saved first: nothing cheap is behind the check.
        let code = [0x53, 0x48, 0x85, 0xff, 0x74, 0x02, 0x31, 0xc0, 0x5b, 0xc3];
        assert_eq!(at(&code), None);
    }
}
