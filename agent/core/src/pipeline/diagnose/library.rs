//! What the library itself told of sessions: the one it made, and the one it looked up and turned down.

use reprise_ebpf::handshake::{HandshakeEvent, SessionAge, SessionId, flag};

use crate::pipeline::wire::HelloEvent;

/// Session times beyond this are nanoseconds, below seconds: in seconds it is the year three million.
const NANOSECONDS: u64 = 100_000_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// What the library's look-up of an offered session came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lookup {
    /// Nobody watched.
    #[default]
    Unseen,
    /// It found none, or none that it could decrypt.
    Nothing,
    /// It found one and turned it down.
    Found {
        /// Its age by the server's own clock, nanoseconds; `None` where that clock was not read.
        age_ns: Option<u64>,
        /// Its lifetime, nanoseconds.
        lifetime_ns: u64,
    },
}

/// What the library told of one completed handshake; nothing where only the wire did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Session {
    /// When the session began, nanoseconds since 1970 by the process's own clock.
    pub time_ns: Option<u64>,
    /// How long it lives, nanoseconds.
    pub lifetime_ns: Option<u64>,
    /// Hash of its ID.
    pub id: Option<u64>,
    /// What became of the one that was offered.
    pub lookup: Lookup,
}

impl Session {
    /// From the library's event, and from what the wire shows of the same handshake: a session let go before the server's answer
    /// is one that was looked up, later ones are its own.
    #[must_use]
    pub fn of(event: &HandshakeEvent, hello: Option<&HelloEvent>) -> Self {
        let (time_ns, lifetime_ns) = age(&event.session);
        let answer_ns = hello.map_or(0, |hello| hello.answer_ns);
        let lookup = if event.flags & flag::LOOKUPS == 0 || answer_ns == 0 {
            Lookup::Unseen
        } else if event.rejected_ns != 0 && event.rejected_ns < answer_ns {
            let (found_ns, lifetime_ns) = age(&event.rejected);
            Lookup::Found {
                age_ns: time_ns
                    .zip(found_ns)
                    .map(|(now, found)| now.saturating_sub(found)),
                lifetime_ns: lifetime_ns.unwrap_or(u64::MAX),
            }
        } else {
            Lookup::Nothing
        };
        Self {
            time_ns,
            lifetime_ns,
            id: hash(&event.session_id),
            lookup,
        }
    }
}

/// Begin and lifetime, nanoseconds; `None` where not read.
pub(super) fn age(age: &SessionAge) -> (Option<u64>, Option<u64>) {
    let unit = if age.time >= NANOSECONDS {
        1
    } else {
        SECOND_NS
    };
    let known = |raw: u64| (age.time != 0).then(|| raw.saturating_mul(unit));
    (
        known(age.time),
        known(age.timeout).filter(|lifetime| *lifetime > 0),
    )
}

/// The hash that stands in place of an ID; `None` where there is no ID.
pub(super) fn hash(id: &SessionId) -> Option<u64> {
    let [a, b, c, d, e, f, g, h, ..] = id.bytes;
    (id.length > 0).then(|| u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_units_are_told_apart() {
        let seconds = SessionAge {
            time: 1_790_000_000,
            timeout: 300,
        };
        let nanoseconds = SessionAge {
            time: 1_790_000_000 * SECOND_NS,
            timeout: 300 * SECOND_NS,
        };
        assert_eq!(age(&seconds), age(&nanoseconds));
        assert_eq!(age(&seconds).1, Some(300 * SECOND_NS));
        assert_eq!(age(&SessionAge::default()), (None, None));
    }
}
