//! Handshakes from the `wire` sensor's records.

use std::num::NonZeroU32;

use reprise_ebpf::handshake::role;

use crate::{
    model::{
        Alert, CgroupId, Direction, EarlyDataOutcome, HelloFacts, HelloFlags, KeyName, Role, Token,
        Version, WireEnd, WireHandshake,
    },
    pipeline::{
        socket::{connection, socket_address},
        wire::{TokenRecord, WireRecord, early, end},
    },
};

/// Decodes a record; `None` where it names no role.
pub(super) fn handshake(record: &WireRecord) -> Option<WireHandshake> {
    let role = match record.role {
        role::SERVER => Role::Server,
        role::CLIENT => Role::Client,
        _ => return None,
    };
    let end = match record.end {
        end::COMPLETED => WireEnd::Completed,
        end::ALERT_IN => WireEnd::AlertReceived,
        end::ALERT_OUT => WireEnd::AlertSent,
        end::CLOSED_IN => WireEnd::ClosedByPeer,
        end::CLOSED_OUT => WireEnd::ClosedHere,
        end::RESET => WireEnd::Reset,
        _ => WireEnd::Unknown,
    };
    let direction = match end {
        WireEnd::AlertReceived => Some(Direction::Received),
        WireEnd::AlertSent => Some(Direction::Sent),
        _ => None,
    };
    // The description of an encrypted alert cannot be read.
    let alert = direction
        .filter(|_| record.alert != 0)
        .map(|direction| Alert {
            description: record.alert,
            direction,
        });
    Some(WireHandshake {
        role,
        cgroup: CgroupId::from_abi(record.cgroup),
        connection: connection(&record.socket),
        end,
        alert,
        rtt_us: NonZeroU32::new(record.rtt_us).map(NonZeroU32::get),
        silence_ns: u64::from(record.silence_ms) * 1_000_000,
        hello: hello(record),
    })
}

fn hello(record: &WireRecord) -> HelloFacts {
    let flags = HelloFlags::from_bits_truncate(record.flags);
    let version = |wire: u16| (wire != 0).then(|| Version::from_wire(u32::from(wire)));
    HelloFacts {
        begin_ns: record.begin_ns,
        answer_ns: (record.answer_ns != 0).then_some(record.answer_ns),
        end_ns: record.header.time_ns,
        client_random: record.client_random,
        flags,
        version: version(record.version),
        offered_version: version(record.offered_version),
        session_id: token(&record.session_id),
        ticket: token(&record.ticket),
        identities: record.identities.each_ref().map(token),
        identity_count: record.identity_count,
        external_identities: record.external,
        accepted_identity: flags
            .contains(HelloFlags::PSK_ACCEPTED)
            .then_some(record.accepted),
        issued_id: token(&record.given_id),
        issued_ticket: token(&record.given_ticket),
        lifetime_hint_s: (record.lifetime != 0).then_some(record.lifetime),
        server_name: (record.server_name != 0).then_some(record.server_name),
        proxied: socket_address(record.proxied, record.proxied_port),
        early_data: match record.early_data {
            early::ACCEPTED => Some(EarlyDataOutcome::Accepted),
            early::REJECTED => Some(EarlyDataOutcome::Rejected),
            _ => None,
        },
    }
}

fn token(record: &TokenRecord) -> Option<Token> {
    (record.length != 0).then_some(Token {
        hash: record.hash,
        key: KeyName::new(record.key),
        length: record.length,
    })
}
