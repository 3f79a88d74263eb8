//! A simulated host: each step is one handshake of one client.

use std::net::SocketAddr;

use super::super::*;
use crate::model::{
    End, HelloFlags, KeyName, LibraryFacts, Lookup, Mechanism, Miss, MissReason, NetworkEvidence,
    NetworkNamespace, Removal, RemovalContext, SessionAge, SessionFacts, Source, Version,
};

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const LIFETIME: u64 = 300 * SECOND;

/// What the client offers, or the server issues: hash, and key name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Offered {
    Nothing,
    Id(u64),
    Ticket(u64, u32),
    Psk(u64, u32),
}

pub(super) struct Host {
    pub(super) diagnoser: Diagnoser,
    pub(super) session: SessionFacts,
    pub(super) close: CloseEvidence,
    pub(super) peer_closed_cleanly: Option<bool>,
    pub(super) reason: Option<u32>,
    pub(super) now_ns: u64,
    /// The process that serves; each port has its own where there is none.
    pub(super) tgid: Option<u32>,
    /// Only the packets show the handshakes.
    pub(super) wire_only: bool,
    /// Last byte of the client's address.
    pub(super) client: u8,
    /// Namespace of both ends.
    pub(super) namespace: NetworkNamespace,
}

impl Host {
    pub(super) fn new() -> Self {
        Self {
            diagnoser: Diagnoser::new(64, 64),
            session: SessionFacts {
                age: SessionAge {
                    lifetime_ns: Some(LIFETIME),
                    ..SessionAge::default()
                },
                lookup: Lookup::NotFound,
                ..SessionFacts::default()
            },
            close: CloseEvidence::default(),
            peer_closed_cleanly: None,
            reason: None,
            now_ns: 1_000 * SECOND,
            tgid: None,
            wire_only: false,
            client: 2,
            namespace: NetworkNamespace::Unknown,
        }
    }

    pub(super) fn wait(&mut self, ns: u64) -> &mut Self {
        self.now_ns += ns;
        self
    }

    /// The library finds the offered session, of this age by its clock, and rejects it.
    pub(super) fn reject(&mut self, age_ns: i64) {
        self.session.lookup = Lookup::Rejected {
            age_ns: Some(age_ns),
            lifetime_ns: LIFETIME,
        };
    }

    pub(super) fn full(&mut self, port: u16, issued: Offered) {
        let miss = self.handshake(port, Offered::Nothing, false, issued);
        assert_eq!(miss, None);
    }

    pub(super) fn observation(
        &mut self,
        port: u16,
        offered: Offered,
        resumed: bool,
        issued: Offered,
    ) -> Observation {
        let token = |hash, key, length| {
            Some(Token {
                hash,
                key: KeyName::new(key),
                length,
            })
        };
        let mut hello = HelloFacts {
            begin_ns: self.now_ns,
            end_ns: self.now_ns,
            version: Some(Version::V12),
            flags: HelloFlags::OFFER_READ | HelloFlags::ANSWER_READ | HelloFlags::PSK_DHE_KE,
            accepted_identity: resumed.then_some(0),
            ..HelloFacts::default()
        };
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
                hello.version = Some(Version::V13);
                hello.identities[0] = token(hash, key, if key == 0 { 32 } else { 200 });
                Offer::Session(Mechanism::Psk)
            }
        };
        let mut session = self.session;
        match issued {
            Offered::Nothing => {}
            Offered::Id(hash) => hello.issued_id = token(hash, 0, 32),
            Offered::Ticket(hash, key) => hello.issued_ticket = token(hash, key, 200),
            Offered::Psk(hash, _) => {
                hello.version = Some(Version::V13);
                session.id = Some(hash);
            }
        }
        let end = |last, port| SocketAddr::from(([127, 0, 0, last], port));
        let library = LibraryFacts {
            session,
            ..LibraryFacts::default()
        };
        Observation {
            time_ns: self.now_ns,
            role: Role::Server,
            version: Version::V12,
            outcome: Outcome::Completed(Resumption::from_resumed(resumed)),
            duration_ns: 0,
            connection: Some(Connection {
                local: end(1, port),
                remote: end(self.client, 50_000),
                namespace: self.namespace,
            }),
            network: NetworkEvidence::default(),
            source: if self.wire_only {
                Source::Wire
            } else {
                Source::Library(library)
            },
            tgid: self.tgid.or((!self.wire_only).then_some(u32::from(port))),
            cgroup: None,
            offer,
            hello: Some(hello),
            conflict: false,
            alert: None,
            miss: None,
        }
    }

    /// A handshake with the server at `port`, which issues `issued`.
    pub(super) fn handshake(
        &mut self,
        port: u16,
        offered: Offered,
        resumed: bool,
        issued: Offered,
    ) -> Option<Miss> {
        let mut seen = self.observation(port, offered, resumed, issued);
        self.diagnoser.diagnose(&mut seen);
        seen.miss
    }

    pub(super) fn reason(&mut self, port: u16, offered: Offered) -> MissReason {
        let miss = self.handshake(port, offered, false, Offered::Nothing);
        miss.expect("a miss").reason
    }

    pub(super) fn remove(
        &mut self,
        tgid: u16,
        hash: u64,
        context: RemovalContext,
    ) -> Option<Removal> {
        let event = SessionRemoved {
            time_ns: self.now_ns,
            tgid: u32::from(tgid),
            context,
            age: SessionAge::default(),
            id: Some(hash),
            peer_closed_cleanly: self.peer_closed_cleanly,
            reason: self.reason,
            reason_observed: self.peer_closed_cleanly.is_some(),
        };
        let close = self.close;
        let removed = self.diagnoser.session_removed(&event, |_| close)?;
        let unclean = context == RemovalContext::Freeing;
        assert_eq!(removed.cut.is_some(), close.loss && unclean);
        Some(removed.removal)
    }

    /// Facts about the service at this port.
    pub(super) fn service(&mut self, port: u16) -> ServiceFacts {
        let tables = &mut self.diagnoser.tables;
        let end = End {
            namespace: self.namespace,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        let service = tables.services.for_end(end, None, self.now_ns);
        self.diagnoser.service(service, self.now_ns)
    }
}
