//! Tests of the evidence: what servers gave and took decides what a later miss is said to be.

use std::net::SocketAddr;

use reprise_ebpf::{
    ABSENT, Header,
    handshake::{FORGET, ForgetEvent, SessionAge, SessionId, role},
};
use zerocopy::FromZeros as _;

use super::*;
use crate::pipeline::{
    correlate::{Trouble, Version},
    event::Connection,
};

const SECOND: u64 = 1_000_000_000;
const LIFETIME: u64 = 300 * SECOND;
const TICKET_KEY: u32 = 0xfeed;

/// A host under test; each step is one handshake of one client.
struct Host {
    evidence: Evidence,
    session: Session,
    /// Connections meet loss.
    lossy: bool,
    now_ns: u64,
}

/// What the client offers.
#[derive(Clone, Copy)]
enum Offered {
    Nothing,
    Id(u64),
    Ticket(u64, u32),
    Psk(u64, u32),
}

impl Host {
    fn new() -> Self {
        Self {
            evidence: Evidence::new(64),
            session: Session {
                lifetime_ns: Some(LIFETIME),
                ..Session::default()
            },
            lossy: false,
            now_ns: 1_000 * SECOND,
        }
    }

    fn wait(&mut self, ns: u64) -> &mut Self {
        self.now_ns += ns;
        self
    }

    /// A handshake with the server at `port`, which gives `given` where it is full.
    fn handshake(
        &mut self,
        port: u16,
        offered: Offered,
        resumed: bool,
        given: Offered,
    ) -> Option<Miss> {
        let token = |hash, key, length| Token { hash, key, length };
        let mut hello = HelloEvent::new_zeroed();
        hello.header.time_ns = self.now_ns;
        hello.begin_ns = self.now_ns;
        hello.role = role::SERVER;
        hello.version = 0x0303;
        hello.flags = flag::OFFER_READ | flag::ANSWER_READ | flag::PSK_DHE_KE;
        let offer = match offered {
            Offered::Nothing => Offer::Nothing,
            Offered::Id(hash) => {
                hello.session_id = token(hash, 0, 32);
                Offer::Session(Mechanism::SessionId)
            }
            Offered::Ticket(hash, key) => {
                hello.ticket = token(hash, key, 200);
                Offer::Session(Mechanism::Ticket)
            }
            Offered::Psk(hash, key) => {
                hello.version = 0x0304;
                hello.identities[0] = token(hash, key, 200);
                Offer::Session(Mechanism::Psk)
            }
        };
        match given {
            Offered::Nothing => {}
            Offered::Id(hash) => hello.given_id = token(hash, 0, 32),
            Offered::Ticket(hash, key) => hello.given_ticket = token(hash, key, 200),
            Offered::Psk(hash, _) => {
                hello.version = 0x0304;
                self.session.id = Some(hash);
            }
        }
        let end = |last, port| SocketAddr::from(([127, 0, 0, last], port));
        let seen = Observation {
            time_ns: self.now_ns,
            role: Role::Server,
            version: Version::V12,
            end: End::Completed(Resumption::of(resumed)),
            duration_ns: 0,
            library_ns: 0,
            connection: Some(Connection {
                local: end(1, port),
                remote: end(2, 50_000),
            }),
            trouble: Trouble::default(),
            reason: 0,
            tgid: u32::from(port),
            offer,
            hello: Some(hello),
            conflict: false,
            wire: false,
            miss: None,
        };
        let session = self.session;
        self.session.id = None;
        self.evidence.take(&seen, &session)
    }

    fn reason(&mut self, port: u16, offered: Offered) -> Reason {
        let miss = self.handshake(port, offered, false, Offered::Nothing);
        miss.expect("a miss").reason
    }

    fn forget(&mut self, tgid: u16, hash: u64, how: u32) -> Option<Removal> {
        let mut id = SessionId {
            length: 32,
            ..SessionId::default()
        };
        id.bytes[..8].copy_from_slice(&hash.to_be_bytes());
        let event = ForgetEvent {
            header: Header {
                kind: FORGET,
                size: 0,
                time_ns: self.now_ns,
            },
            tgid: u32::from(tgid),
            how,
            session: SessionAge::default(),
            session_id: id,
            ssl: 0,
            shutdown: ABSENT,
            reason: 0,
        };
        let lossy = self.lossy;
        let forgotten = self.evidence.forget(&event, |_| lossy)?;
        let blamed = lossy && forgotten.removal == Removal::UncleanClose;
        assert_eq!(forgotten.cut.is_some(), blamed);
        Some(forgotten.removal)
    }
}

#[test]
fn an_id_is_evicted_while_young_and_expired_when_old() {
    let mut host = Host::new();
    host.handshake(443, Offered::Nothing, false, Offered::Id(1));
    let reason = host.wait(10 * SECOND).reason(443, Offered::Id(1));
    assert_eq!(reason, Reason::Evicted);
    let reason = host.wait(LIFETIME).reason(443, Offered::Id(1));
    assert_eq!(reason, Reason::Expired);
}

#[test]
fn an_id_of_another_node_is_foreign_until_both_share_a_cache() {
    let mut host = Host::new();
    host.handshake(443, Offered::Nothing, false, Offered::Id(1));
    host.handshake(8443, Offered::Nothing, false, Offered::Id(2));
    assert_eq!(host.reason(8443, Offered::Id(1)), Reason::ForeignId);
    host.handshake(8443, Offered::Id(1), true, Offered::Nothing);
    assert_eq!(host.reason(8443, Offered::Id(1)), Reason::Evicted);
    assert_eq!(host.reason(443, Offered::Id(2)), Reason::Evicted);
}

#[test]
fn an_id_that_nobody_gave_is_foreign_once_the_service_is_known() {
    let mut host = Host::new();
    host.handshake(443, Offered::Nothing, false, Offered::Id(1));
    assert_eq!(host.reason(443, Offered::Id(9)), Reason::Unknown);
    assert_eq!(
        host.wait(LIFETIME).reason(443, Offered::Id(9)),
        Reason::Unknown
    );
    assert_eq!(
        host.wait(4 * LIFETIME).reason(443, Offered::Id(9)),
        Reason::ForeignId
    );
}

#[test]
fn what_was_forgotten_for_room_makes_no_id_foreign() {
    let mut host = Host::new();
    host.handshake(443, Offered::Nothing, false, Offered::Id(1_000));
    host.wait(5 * LIFETIME);
    for id in 0..65 {
        host.handshake(443, Offered::Nothing, false, Offered::Id(id));
    }
    assert_eq!(host.evidence.kept().evicted, 2);
    assert_eq!(host.reason(443, Offered::Id(0)), Reason::Unknown);
    assert_eq!(host.reason(443, Offered::Id(64)), Reason::Evicted);
}

#[test]
fn ticket_keys_are_foreign_then_known_then_retired() {
    let mut host = Host::new();
    host.session.lookup = Lookup::Nothing;
    let ticket = Offered::Psk(5, TICKET_KEY);
    assert_eq!(host.reason(443, ticket), Reason::ForeignKey);
    host.handshake(443, ticket, true, Offered::Nothing);
    assert_eq!(host.reason(443, ticket), Reason::RetiredKey);
    assert_eq!(host.reason(8443, ticket), Reason::ForeignKey);
}

#[test]
fn without_look_ups_a_newer_key_retires_the_older_one() {
    let mut host = Host::new();
    let give = |hash, key| Offered::Ticket(hash, key);
    host.handshake(443, Offered::Nothing, false, give(1, 7));
    assert_eq!(host.reason(443, Offered::Ticket(99, 7)), Reason::Unknown);
    assert_eq!(host.reason(443, Offered::Ticket(1, 7)), Reason::Refused);
    host.wait(SECOND)
        .handshake(443, Offered::Nothing, false, give(2, 8));
    assert_eq!(host.reason(443, Offered::Ticket(99, 7)), Reason::RetiredKey);
    assert_eq!(host.reason(443, Offered::Ticket(1, 7)), Reason::RetiredKey);
    assert_eq!(
        host.wait(2 * LIFETIME).reason(443, give(1, 7)),
        Reason::Expired
    );
}

#[test]
fn a_removed_session_is_counted_once_and_named() {
    let mut host = Host::new();
    host.handshake(443, Offered::Nothing, false, Offered::Id(1));
    assert_eq!(
        host.forget(444, 1, forgot::FREEING),
        None,
        "a client forgets it"
    );
    let removal = host.forget(443, 1, forgot::FREEING);
    assert_eq!(removal, Some(Removal::UncleanClose));
    assert_eq!(host.forget(443, 1, forgot::FREEING), None, "twice");
    assert_eq!(host.forget(443, 2, forgot::ELSE), None, "not given here");
    assert_eq!(host.reason(443, Offered::Id(1)), Reason::Removed);
    host.handshake(443, Offered::Id(1), true, Offered::Nothing);
    assert_eq!(host.reason(443, Offered::Id(1)), Reason::Evicted);
}

#[test]
fn stateful_tickets_are_cache_entries_and_others_are_not() {
    let mut host = Host::new();
    host.handshake(443, Offered::Nothing, false, Offered::Psk(1, 0));
    host.handshake(443, Offered::Nothing, false, Offered::Psk(2, 0));
    assert_eq!(
        host.forget(443, 1, forgot::FREEING),
        None,
        "a ticket may stand for it"
    );
    assert_eq!(host.reason(443, Offered::Psk(2, 0)), Reason::Evicted);
    assert_eq!(host.reason(443, Offered::Psk(1, 0)), Reason::Removed);
    let removal = host.forget(443, 2, forgot::ELSE);
    assert_eq!(removal, Some(Removal::Application));
}

#[test]
fn the_own_clock_of_a_server_is_compared_with_the_hosts() {
    let mut host = Host::new();
    host.evidence.set_clock(0);
    host.session.time_ns = Some(host.now_ns + 7_200 * SECOND);
    host.session.lookup = Lookup::Found {
        age_ns: Some(7_200 * SECOND),
        lifetime_ns: LIFETIME,
    };
    let miss = host.handshake(443, Offered::Psk(1, 7), false, Offered::Nothing);
    let miss = miss.expect("a miss");
    assert_eq!(miss.reason, Reason::Expired);
    let facts = host
        .evidence
        .service(miss.service.expect("a server"), host.now_ns);
    assert_eq!(facts.skew_ns, Some(7_200 * SECOND as i64));
    assert_eq!(facts.lifetime_ns, Some(LIFETIME));
}

#[test]
fn sessions_of_the_last_lifetime_are_counted_for_advice() {
    let mut host = Host::new();
    for id in 0..5 {
        host.wait(100 * SECOND)
            .handshake(443, Offered::Nothing, false, Offered::Id(id));
    }
    let service = host.handshake(443, Offered::Id(4), false, Offered::Nothing);
    let service = service.and_then(|miss| miss.service).expect("a server");
    assert_eq!(host.evidence.service(service, host.now_ns).sessions, 4);
}

#[test]
fn a_miss_is_traced_to_the_loss_that_cut_its_session_off() {
    for (how, lossy, blamed) in [
        (forgot::FREEING, true, true),
        (forgot::FREEING, false, false),
        (forgot::ELSE, true, false),
    ] {
        let mut host = Host::new();
        host.lossy = lossy;
        host.handshake(443, Offered::Nothing, false, Offered::Id(1));
        host.wait(SECOND).forget(443, 1, how);
        let offered = Offered::Id(1);
        let miss = host.handshake(443, offered, false, Offered::Nothing);
        let miss = miss.expect("a miss");
        assert_eq!((miss.reason, miss.lossy), (Reason::Removed, blamed));
    }
}
