//! Session facts of a library's handshake.

use crate::model::{HelloFacts, LibraryHandshake, Lookup, SessionFacts};

/// Session facts of a library's handshake, with what the wire shows of it: a session released
/// before the server's answer is one that the server looked up and rejected; a later one is its
/// own.
pub(super) fn from_library(
    handshake: &LibraryHandshake,
    hello: Option<&HelloFacts>,
) -> SessionFacts {
    let answer_ns = hello
        .and_then(|hello| hello.answer_ns)
        .filter(|_| handshake.lookups_observed);
    let lookup = answer_ns.map_or(Lookup::Unobserved, |answer_ns| {
        let released = handshake
            .released
            .filter(|released| released.time_ns < answer_ns);
        released.map_or(Lookup::NotFound, |released| Lookup::Rejected {
            age_ns: handshake
                .session
                .created_ns
                .zip(released.age.created_ns)
                .and_then(|(now, created)| i64::try_from(now).ok()?.checked_sub_unsigned(created)),
            lifetime_ns: released.age.lifetime_ns.unwrap_or(u64::MAX),
        })
    });
    SessionFacts {
        age: handshake.session,
        id: handshake.session_id,
        lookup,
    }
}
