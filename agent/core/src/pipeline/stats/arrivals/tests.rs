use std::{collections::BTreeMap, sync::Arc};

use enum_map::EnumMap;
use proptest::prelude::*;

use super::*;
use crate::{
    model::{
        ClientKind, Evidence, FailureCause, HelloFacts, KeyName, Mechanism, Miss, MissReason,
        NetworkNamespace, Offer, Outcome, Owner, Resumption, Role, Surge, Suspicion, Token,
    },
    pipeline::stats::{service_port::ServicePort, testing::seen},
};

const WINDOW: u64 = 300_000_000_000;
const SLOT: u64 = WINDOW / 10;
const FULL: Outcome = Outcome::Completed(Resumption::Full);
const RESUMED: Outcome = Outcome::Completed(Resumption::Resumed);
const SILENT: Outcome = Outcome::Failed(FailureCause::Timeout);
const ID: Offer = Offer::Session(Mechanism::SessionId);
/// When what is usual is known, with handshakes since slot 1000.
const LEARNED: u64 = 1_020;

fn service() -> ServiceKey {
    ServiceKey {
        owner: Arc::new(Owner::from_workload("till")),
        port: ServicePort::Number(443),
    }
}

fn token(hash: u64, key: Option<u32>) -> Token {
    Token {
        hash,
        key: key.and_then(KeyName::new),
        length: 32,
    }
}

/// Handshakes of clients with a service.
struct Bench {
    arrivals: Arrivals,
    sessions: u64,
    /// Handshakes, which end a nanosecond after one another.
    count: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            arrivals: Arrivals::new(8, WINDOW),
            sessions: 0,
            count: 0,
        }
    }

    /// A service that a client without a session visits in each slot until [`LEARNED`].
    fn learned() -> Self {
        let mut bench = Self::new();
        for slot in LEARNED - 20..LEARNED {
            bench.visit(slot, 60_000 + slot as u32, FULL, Offer::Nothing);
        }
        bench
    }

    fn record(&mut self, slot: u64, client: u32, change: impl FnOnce(&mut Observation)) {
        let [_, b, c, d] = client.to_be_bytes();
        let mut seen = seen(
            Role::Server,
            &format!("10.{b}.{c}.{d}:1"),
            FULL,
            Offer::Nothing,
        );
        self.count += 1;
        seen.time_ns = slot * SLOT + self.count;
        change(&mut seen);
        let connection = seen.connection.unwrap();
        self.arrivals.record(&service(), &connection, &seen);
    }

    /// A handshake in which the service gives a session, if it completes and is full.
    fn visit(&mut self, slot: u64, client: u32, outcome: Outcome, offer: Offer) {
        self.sessions += 1;
        let issued = token(self.sessions, None);
        self.record(slot, client, |seen| {
            seen.outcome = outcome;
            seen.offer = offer;
            if outcome == FULL
                && let Some(hello) = &mut seen.hello
            {
                hello.issued_id = Some(issued);
            }
        });
    }

    fn miss(&mut self, slot: u64, client: u32, token: Token, reason: MissReason) {
        let rule = match reason {
            MissReason::Unknown => "not_enough_evidence",
            _ => "another rule",
        };
        self.record(slot, client, |seen| {
            seen.offer = ID;
            seen.hello = Some(HelloFacts {
                session_id: Some(token),
                issued_id: Some(token),
                ..HelloFacts::default()
            });
            seen.miss = Some(Miss {
                reason,
                evidence: Evidence {
                    rule,
                    ..Evidence::default()
                },
                age_ns: None,
                lifetime_ns: None,
                service: None,
                lossy: false,
            });
        });
    }

    /// Known clients that resume in this slot.
    fn resume(&mut self, slot: u64, clients: std::ops::Range<u32>) {
        for client in clients {
            self.visit(slot, client, RESUMED, ID);
        }
    }

    fn at(&self, slot: u64) -> ServiceArrivals {
        let all = self.arrivals.by_service(slot * SLOT);
        all.get(&service()).copied().unwrap_or_default()
    }

    /// What the clients show once the handshakes of this slot are diagnosed.
    fn surge(&self, slot: u64) -> Surge {
        let now_ns = (slot + 1) * SLOT + SETTLE_NS;
        let all = self.arrivals.by_service(now_ns);
        all.get(&service())
            .map_or(Surge::Unknown, ServiceArrivals::surge)
    }
}

#[test]
fn clients_return_after_a_while_or_with_a_session() {
    let mut bench = Bench::learned();
    bench.visit(LEARNED, 1, FULL, Offer::Nothing);
    // The same visit: a browser opens several connections.
    bench.visit(LEARNED + 1, 1, RESUMED, ID);
    bench.visit(LEARNED, 2, FULL, Offer::Nothing);
    bench.visit(LEARNED + 2, 2, FULL, Offer::Nothing);
    bench.visit(LEARNED + 1, 3, RESUMED, ID);
    bench.miss(LEARNED + 1, 4, token(1, None), MissReason::Restarted);
    bench.visit(LEARNED, 5, SILENT, Offer::Nothing);
    bench.visit(LEARNED + 3, 5, SILENT, Offer::Nothing);
    let kinds = bench.at(LEARNED + 3).clients;
    // Those of the last slots before, one each, were not observed before either.
    assert_eq!(kinds[ClientKind::Returning], 3);
    assert_eq!(kinds[ClientKind::New], 2);
    assert_eq!(kinds[ClientKind::Unknown], 6);
    assert_eq!(bench.at(LEARNED + 13).clients.values().sum::<u64>(), 0);
}

#[test]
fn no_client_is_new_before_a_service_is_known_or_after_an_eviction() {
    let mut bench = Bench::learned();
    assert!(!bench.at(LEARNED - 1).is_learned);
    assert!(bench.at(LEARNED).is_learned && bench.at(LEARNED).knows_new);
    bench.arrivals.max_clients = 20;
    bench.visit(LEARNED, 1, FULL, Offer::Nothing);
    assert_eq!((bench.arrivals.len(), bench.arrivals.evicted()), (20, 1));
    // The handshake of the evicted client was in the first slot.
    bench.visit(LEARNED, 2, FULL, Offer::Nothing);
    let arrivals = bench.at(LEARNED);
    assert_eq!(
        (arrivals.clients[ClientKind::New], arrivals.knows_new),
        (1, false)
    );
    for client in 3..30 {
        bench.visit(LEARNED + 2, client, SILENT, Offer::Nothing);
    }
    let arrivals = bench.at(LEARNED + 2);
    assert_eq!(arrivals.suspects, EnumMap::default());
    assert_eq!(bench.arrivals.len(), 20);
    bench.visit(LEARNED + 30, 30, FULL, Offer::Nothing);
    assert_eq!(bench.at(LEARNED + 30).clients[ClientKind::New], 1);
    assert!(bench.at(LEARNED + 30).knows_new);
}

/// Forty clients resume in turn, so that each slot has four.
fn with_regulars() -> Bench {
    let mut bench = Bench::new();
    for slot in LEARNED - 30..LEARNED + 10 {
        let first = (slot % 10) as u32 * 4;
        bench.resume(slot, first..first + 4);
    }
    bench
}

const NOW: u64 = LEARNED + 10;

#[test]
fn the_usual_clients_are_no_surge() {
    let mut bench = with_regulars();
    assert_eq!(bench.surge(NOW - 1), Surge::None);
    let regular = bench.at(NOW - 1);
    assert_eq!(regular.trusted.genuine, 40);
    assert_eq!(regular.clients[ClientKind::Returning], 40);
    // Some new clients, a port scan from one address, and a client that goes silent once.
    for client in 1_000..1_030 {
        bench.visit(NOW, client, FULL, Offer::Nothing);
    }
    for _ in 0..500 {
        bench.visit(
            NOW,
            2_000,
            Outcome::Failed(FailureCause::Closed),
            Offer::Nothing,
        );
    }
    bench.visit(NOW, 2_001, SILENT, Offer::Nothing);
    let arrivals = bench.at(NOW);
    assert_eq!(arrivals.suspects[Suspicion::NeverCompleted], 2);
    assert_eq!(arrivals.surge(), Surge::None);
    assert_eq!(Bench::learned().surge(LEARNED - 2), Surge::Unknown);
}

/// Clients that return for the first time after what is usual is known: until then none was known.
#[test]
fn rare_visits_of_many_clients_are_no_storm() {
    let mut bench = Bench::new();
    for slot in 1_000..1_100_u64 {
        // A hundred clients per slot, each once in thirty slots.
        let first = (slot % 30) as u32 * 100;
        for client in first..first + 100 {
            bench.visit(slot, client, FULL, Offer::Nothing);
        }
        if slot > LEARNED {
            assert_eq!(bench.surge(slot), Surge::None, "{slot}");
        }
    }
    assert_eq!(bench.at(1_099).clients[ClientKind::Returning], 1_000);
}

#[test]
fn known_clients_that_return_at_once_are_a_storm() {
    let mut bench = with_regulars();
    // Without a service for five slots.
    bench.resume(NOW + 5, 0..40);
    assert_eq!(bench.surge(NOW + 5), Surge::Storm);
    // After a restart that emptied the cache.
    let mut bench = with_regulars();
    for client in 0..40 {
        bench.miss(NOW + 5, client, token(9, None), MissReason::Restarted);
    }
    bench.visit(NOW + 5, 1_000, FULL, Offer::Nothing);
    assert_eq!(bench.surge(NOW + 5), Surge::Storm);
    // It ends with the window.
    assert_eq!(bench.surge(NOW + 15), Surge::None);
    // As many new ones are no storm.
    let mut bench = with_regulars();
    for client in 1_000..1_040 {
        bench.visit(NOW + 5, client, FULL, Offer::Nothing);
    }
    assert_eq!(bench.surge(NOW + 5), Surge::None);
}

#[test]
fn clients_that_complete_nothing_are_an_attack() {
    let mut bench = with_regulars();
    for client in 1_000..1_025 {
        bench.visit(NOW, client, SILENT, Offer::Unknown);
    }
    assert_eq!(bench.surge(NOW), Surge::Attack);
    // One that completes after all.
    for client in 1_000..1_010 {
        bench.visit(NOW, client, FULL, Offer::Nothing);
    }
    assert_eq!(bench.at(NOW).suspects[Suspicion::NeverCompleted], 15);
    assert_eq!(bench.surge(NOW), Surge::None);
}

#[test]
fn failures_of_known_clients_too_are_no_attack() {
    let mut bench = with_regulars();
    for client in (0..10).chain(1_000..1_030) {
        bench.visit(NOW, client, SILENT, Offer::Unknown);
    }
    assert_eq!(bench.surge(NOW), Surge::Unknown);
    // Packet loss and alerts have another explanation.
    let mut bench = with_regulars();
    for client in 1_000..1_030 {
        let cause = [FailureCause::PacketLoss, FailureCause::AlertSent][client as usize % 2];
        bench.visit(NOW, client, Outcome::Failed(cause), Offer::Unknown);
    }
    assert_eq!(bench.at(NOW).suspects, EnumMap::default());
    assert_eq!(bench.surge(NOW), Surge::None);
}

#[test]
fn background_scans_are_usual() {
    let mut bench = Bench::new();
    for slot in 1_000..1_060 {
        bench.resume(slot, 0..10);
        for client in 0..5 {
            bench.visit(
                slot,
                10_000 + 5 * slot as u32 + client,
                SILENT,
                Offer::Unknown,
            );
        }
        if slot > LEARNED {
            assert_eq!(bench.surge(slot), Surge::None, "{slot}");
        }
    }
    assert!(bench.at(1_059).suspects[Suspicion::NeverCompleted] >= 45);
}

#[test]
fn sessions_that_nobody_issued_again_and_again_are_an_attack() {
    let mut bench = with_regulars();
    for client in 1_000..1_025 {
        bench.miss(
            NOW,
            client,
            token(u64::from(client), None),
            MissReason::Unknown,
        );
    }
    // Clients of another node offer what it issued, once, and then what they were given here.
    assert_eq!(bench.surge(NOW), Surge::None);
    let mut failover = with_regulars();
    for client in 1_000..1_025 {
        failover.miss(
            NOW,
            client,
            token(u64::from(client), None),
            MissReason::Unknown,
        );
        failover.visit(NOW, client, RESUMED, ID);
    }
    assert_eq!(failover.at(NOW).suspects, EnumMap::default());
    for client in 1_000..1_025 {
        bench.miss(
            NOW,
            client,
            token(u64::from(client), None),
            MissReason::Unknown,
        );
    }
    assert_eq!(bench.surge(NOW), Surge::None, "the same session again");
    for client in 1_000..1_025 {
        bench.miss(
            NOW,
            client,
            token(90_000 + u64::from(client), None),
            MissReason::Unknown,
        );
    }
    assert_eq!(bench.at(NOW).suspects[Suspicion::InventedSessions], 25);
    assert_eq!(bench.surge(NOW), Surge::Attack);
    // The suspicion remains while they come.
    for client in 1_000..1_025 {
        bench.miss(
            NOW + 4,
            client,
            token(70_000 + u64::from(client), None),
            MissReason::Unknown,
        );
    }
    assert_eq!(
        bench.surge(NOW + 12),
        Surge::Unknown,
        "nobody to compare with"
    );
    bench.resume(NOW + 11, 0..6);
    assert_eq!(bench.surge(NOW + 12), Surge::Attack);
}

/// A miss that waited for evidence is recorded after the next handshake of its client.
#[test]
fn a_session_given_after_a_late_miss_makes_no_client_known() {
    let mut bench = with_regulars();
    for client in 1_000..1_040 {
        bench.count = 5_000;
        bench.visit(NOW, client, RESUMED, ID);
    }
    assert_eq!(bench.at(NOW).clients[ClientKind::Returning], 40 - 4 + 40);
    // Not judged yet.
    assert_eq!(bench.at(NOW).surge(), Surge::None);
    bench.count = 0;
    for client in 1_000..1_040 {
        let foreign = token(u64::from(client), None);
        bench.miss(NOW, client, foreign, MissReason::Unknown);
    }
    let arrivals = bench.at(NOW);
    assert_eq!(arrivals.clients[ClientKind::Returning], 40 - 4);
    assert_eq!(arrivals.clients[ClientKind::New], 40);
    assert_eq!(bench.surge(NOW), Surge::None);
}

#[test]
fn tickets_under_a_key_that_many_clients_have_are_those_of_another_node() {
    for (keys, expected) in [(2, Surge::None), (1_000_000, Surge::Attack)] {
        let mut bench = with_regulars();
        for number in 0..75_u32 {
            let client = 1_000 + number % 25;
            let ticket = token(u64::from(number), Some(1 + number % keys));
            bench.miss(NOW, client, ticket, MissReason::Unknown);
        }
        assert_eq!(bench.surge(NOW), expected, "{keys}");
    }
}

#[test]
fn clients_that_fill_the_cache_are_an_attack_if_known_ones_suffer() {
    let mut bench = with_regulars();
    for client in 1_000..1_025 {
        for _ in 0..8 {
            bench.visit(NOW, client, FULL, Offer::Nothing);
        }
    }
    assert_eq!(bench.at(NOW).suspects[Suspicion::UnusedSessions], 25);
    assert_eq!(bench.surge(NOW), Surge::Unknown);
    for client in 0..5 {
        bench.miss(NOW, client, token(1, None), MissReason::Evicted);
    }
    assert_eq!(bench.at(NOW).evicted, 5);
    assert_eq!(bench.surge(NOW), Surge::Attack);
}

#[test]
fn services_and_namespaces_are_apart() {
    let mut bench = Bench::learned();
    bench.visit(LEARNED, 1, RESUMED, ID);
    bench.record(LEARNED, 1, |seen| {
        if let Some(connection) = &mut seen.connection {
            connection.namespace = NetworkNamespace::Privileged(1);
        }
    });
    assert_eq!(bench.at(LEARNED).clients[ClientKind::Returning], 1);
    assert_eq!(bench.at(LEARNED).clients[ClientKind::New], 1);
    bench.arrivals.forget((LEARNED + 1) * SLOT);
    assert_eq!(bench.at(LEARNED), ServiceArrivals::default());
    bench.visit(LEARNED, 1, RESUMED, ID);
    let again = bench.at(LEARNED);
    assert_eq!(again.clients.values().sum::<u64>(), 1);
    assert!(!again.is_learned);
}

#[test]
fn networks_of_ipv6_are_one_client() {
    let mut bench = Bench::learned();
    for last in ["1", "2", "a:b:c:d"] {
        bench.record(LEARNED, 1, |seen| {
            if let Some(connection) = &mut seen.connection {
                connection.remote = format!("[2001:db8:0:1:{last}]:1")
                    .replace("1:1]", "1::1]")
                    .replace("1:2]", "1::2]")
                    .parse()
                    .unwrap();
            }
        });
    }
    assert_eq!(bench.at(LEARNED).clients[ClientKind::New], 1);
}

proptest! {
    /// Each client of the window is counted once, in whatever order its handshakes come.
    #[test]
    fn each_client_is_counted_once(
        visits in prop::collection::vec((0..15_u64, 0..8_u32, 0..4_u8), 0..200),
    ) {
        let mut bench = Bench::new();
        let mut newest = BTreeMap::new();
        let mut visits = visits;
        visits.sort_unstable();
        for (slot, client, kind) in visits {
            let slot = LEARNED + slot;
            match kind {
                0 => bench.visit(slot, client, FULL, Offer::Nothing),
                1 => bench.visit(slot, client, RESUMED, ID),
                2 => bench.visit(slot, client, SILENT, Offer::Unknown),
                _ => bench.miss(slot, client, token(slot, None), MissReason::Unknown),
            }
            newest.insert(client, slot);
        }
        let now = LEARNED + 15;
        let expected = newest.values().filter(|slot| **slot + 10 > now).count();
        let arrivals = bench.at(now);
        prop_assert_eq!(arrivals.clients.values().sum::<u64>(), expected as u64);
        let returning = arrivals.clients[ClientKind::Returning];
        prop_assert!(arrivals.trusted.clients <= returning);
        prop_assert_eq!(arrivals.surge(), if newest.is_empty() || !arrivals.is_learned {
            Surge::Unknown
        } else {
            Surge::None
        });
    }
}
