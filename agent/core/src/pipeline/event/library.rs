//! Handshakes and removed sessions from the `handshake` sensor's records.

use reprise_ebpf::{
    ABSENT,
    handshake::{
        self as abi, AlertEvent, ForgetEvent, HandshakeEvent, SessionId, flag, forgot, outcome,
        shutdown, socket_source,
    },
};

use crate::{
    model::{
        AlertAfterCompletion, CgroupId, LibraryEnd, LibraryHandshake, ReleasedSession,
        RemovalContext, Resumption, Role, SessionAge, SessionRemoved, SocketSource, Version,
    },
    pipeline::socket::connection,
};

/// Session times beyond this are nanoseconds, below it seconds: in seconds it is the year three
/// million.
const NANOSECONDS: u64 = 100_000_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// Decodes a record of an ended handshake.
pub(super) fn handshake(record: &HandshakeEvent) -> LibraryHandshake {
    let has = |flag: u32| record.flags & flag != 0;
    let socket_source = match record.socket_source {
        socket_source::NONE => None,
        socket_source::IN_CALL => Some(SocketSource::InCall),
        _ => Some(SocketSource::BeforeCall),
    };
    // All zeroes before a ClientHello.
    let random =
        (has(flag::RANDOM) && record.client_random != [0; 32]).then_some(record.client_random);
    LibraryHandshake {
        begin_ns: record.begin_ns,
        end_ns: record.header.time_ns,
        heard_ns: record.heard_ns,
        library_ns: record.library_ns,
        tgid: record.tgid,
        cgroup: CgroupId::from_abi(record.cgroup),
        role: role(record.role),
        version: Version::from_wire(record.version),
        end: match record.outcome {
            outcome::COMPLETED => LibraryEnd::Completed,
            outcome::FAILED => LibraryEnd::Failed,
            outcome::PROCESS_ENDED => LibraryEnd::ProcessEnded,
            _ => LibraryEnd::Dropped,
        },
        resumption: match record.hit {
            0 => Resumption::Full,
            1 => Resumption::Resumed,
            _ => Resumption::Unknown,
        },
        reason: (record.reason != 0).then_some(record.reason),
        connection: socket_source.and_then(|_| connection(&record.socket)),
        socket_source,
        client_random: random,
        peer_closed: has(flag::PEER_CLOSED),
        socket_closed: has(flag::SOCKET_CLOSED),
        alert_sent: has(flag::ALERTED),
        session: age(&record.session),
        session_id: hash(&record.session_id),
        lookups_observed: has(flag::LOOKUPS),
        released: (record.rejected_ns != 0).then(|| ReleasedSession {
            time_ns: record.rejected_ns,
            age: age(&record.rejected),
        }),
    }
}

/// Decodes a record of an alert after completion; `None` where it names no role or no alert.
pub(super) fn alert(record: &AlertEvent) -> Option<AlertAfterCompletion> {
    let has_socket = record.socket_source != u32::from(socket_source::NONE);
    Some(AlertAfterCompletion {
        time_ns: record.header.time_ns,
        tgid: record.tgid,
        role: role(u8::try_from(record.role).ok()?)?,
        description: u8::try_from(record.alert).ok()?,
        connection: has_socket.then(|| connection(&record.socket)).flatten(),
    })
}

const fn role(role: u8) -> Option<Role> {
    match role {
        abi::role::SERVER => Some(Role::Server),
        abi::role::CLIENT => Some(Role::Client),
        _ => None,
    }
}

/// Decodes a record of a removed session.
pub(super) fn removed(record: &ForgetEvent) -> SessionRemoved {
    SessionRemoved {
        time_ns: record.header.time_ns,
        tgid: record.tgid,
        context: match record.how {
            forgot::FREEING => RemovalContext::Freeing,
            forgot::DRIVING => RemovalContext::Handshake,
            _ => RemovalContext::Other,
        },
        age: age(&record.session),
        id: hash(&record.session_id),
        peer_closed_cleanly: (record.shutdown != ABSENT)
            .then_some(record.shutdown & shutdown::RECEIVED != 0),
        reason: (record.reason != 0).then_some(record.reason),
        reason_observed: record.reason != 0 || record.shutdown != ABSENT,
    }
}

fn age(age: &abi::SessionAge) -> SessionAge {
    let unit = if age.time >= NANOSECONDS {
        1
    } else {
        SECOND_NS
    };
    let known = |raw: u64| (age.time != 0).then(|| raw.saturating_mul(unit));
    SessionAge {
        created_ns: known(age.time),
        lifetime_ns: known(age.timeout).filter(|lifetime| *lifetime > 0),
    }
}

/// The hash that replaces an ID; `None` where there is no ID.
fn hash(id: &SessionId) -> Option<u64> {
    let [a, b, c, d, e, f, g, h, ..] = id.bytes;
    (id.length > 0).then(|| u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_nanoseconds_are_distinguished() {
        let seconds = abi::SessionAge {
            time: 1_790_000_000,
            timeout: 300,
        };
        let nanoseconds = abi::SessionAge {
            time: 1_790_000_000 * SECOND_NS,
            timeout: 300 * SECOND_NS,
        };
        assert_eq!(age(&seconds), age(&nanoseconds));
        assert_eq!(age(&seconds).lifetime_ns, Some(300 * SECOND_NS));
        assert_eq!(age(&abi::SessionAge::default()), SessionAge::default());
    }
}
