//! Hits and misses both enter the analysis of a service's cache.

use super::host::{Host, LIFETIME, Offered, SECOND};
use crate::{
    model::{RemovalContext, ServiceId},
    pipeline::sizing::Service,
};

fn service(host: &Host) -> &Service {
    host.diagnoser.sizing().get(ServiceId(1)).unwrap()
}

#[test]
fn offers_of_sessions_enter_the_analysis() {
    let mut host = Host::new();
    for id in 1..=4 {
        host.full(443, Offered::Id(id));
    }
    // At distance 3, and the next one at distance 2: a resumed handshake stores none.
    host.wait(10 * SECOND)
        .handshake(443, Offered::Id(1), true, Offered::Nothing);
    host.wait(50 * SECOND)
        .handshake(443, Offered::Id(2), false, Offered::Id(5));
    let cache = service(&host).cache.as_ref().unwrap();
    assert_eq!((cache.sums.accepted, cache.sums.missed), (1, 1));
    assert_eq!(cache.lifetime_s(), Some(300));
    assert_eq!(cache.stored(), 5);
    assert_eq!((cache.ages.count(), cache.ages.sum), (2, 70.0));
    assert_eq!((cache.distances.count(), cache.distances.sum), (2, 5.0));
    assert_eq!(cache.alive(), 4);
    // The cache that missed one was smaller than the smallest simulated one.
    assert_eq!(cache.expected(64.0, 300), Some(1.0));
    host.wait(LIFETIME)
        .handshake(443, Offered::Id(5), false, Offered::Id(6));
    let cache = service(&host).cache.as_ref().unwrap();
    assert_eq!(cache.alive(), 1);
}

#[test]
fn a_removed_session_is_in_no_cache() {
    let mut host = Host::new();
    host.full(443, Offered::Id(1));
    host.peer_closed_cleanly = Some(false);
    host.wait(SECOND).remove(443, 1, RemovalContext::Freeing);
    host.wait(SECOND)
        .handshake(443, Offered::Id(1), false, Offered::Id(2));
    let cache = service(&host).cache.as_ref().unwrap();
    assert_eq!(cache.expected(1_000.0, 300), Some(0.0));
}

#[test]
fn tickets_have_an_age_and_a_number_of_keys_back() {
    let mut host = Host::new();
    host.full(443, Offered::Ticket(1, 7));
    host.wait(10 * SECOND)
        .handshake(443, Offered::Ticket(1, 7), true, Offered::Nothing);
    host.full(443, Offered::Ticket(2, 8));
    host.full(443, Offered::Ticket(3, 9));
    host.wait(10 * SECOND)
        .handshake(443, Offered::Ticket(1, 7), false, Offered::Nothing);
    let known = service(&host);
    assert!(known.cache.is_none());
    assert_eq!(known.tickets.keys_back[..3], [1, 0, 1]);
    assert_eq!(
        (known.tickets.ages.count(), known.tickets.ages.sum),
        (2, 30.0)
    );
    assert_eq!(known.tickets.needed_s(), Some(60));
}
