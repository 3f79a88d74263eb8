//! Attacks on the tables: a tenant fills them, and what was evicted is unknown, never another's.

use std::net::{Ipv4Addr, SocketAddr};

use super::host::{Host, Offered, SECOND};
use crate::{
    model::{Lookup, MissReason, RemovalContext},
    pipeline::diagnose::Diagnoser,
};

/// Ports, processes or keys that fill any table.
const MANY: u32 = 8_400;
/// Clients that fill the table of clients.
const CLIENTS: u32 = 33_000;
/// The tenant's process, and its first port.
const TENANT: u32 = 77_777;
const FIRST_PORT: u16 = 10_000;

fn host() -> Host {
    let mut host = Host::new();
    host.diagnoser = Diagnoser::new(65_536, 64);
    host
}

/// The tenant serves TLS on many ports.
fn fill_services(host: &mut Host) {
    for number in 0..MANY as u16 {
        host.tgid = Some(TENANT + u32::from(number));
        host.full(
            FIRST_PORT + number,
            Offered::Id(1_000_000 + u64::from(number)),
        );
    }
    host.tgid = None;
    host.wait(SECOND);
    assert!(host.diagnoser.retained().evicted_services > 0);
}

#[test]
fn an_id_of_an_evicted_service_is_unknown() {
    let mut host = host();
    host.full(443, Offered::Id(1));
    fill_services(&mut host);
    assert_eq!(host.reason(443, Offered::Id(1)), MissReason::Unknown);
    // Its successor issues sessions, which no other service here issued before.
    host.full(443, Offered::Id(2));
    assert_eq!(host.reason(8443, Offered::Id(2)), MissReason::Unknown);
    assert_eq!(host.reason(443, Offered::Id(1)), MissReason::Unknown);
}

#[test]
fn a_key_of_an_evicted_service_is_unknown() {
    let mut host = host();
    for ticket in 0..20 {
        host.full(443, Offered::Ticket(ticket, 7));
    }
    fill_services(&mut host);
    for offered in [Offered::Ticket(1, 7), Offered::Psk(500, 7)] {
        assert_eq!(
            host.reason(443, offered),
            MissReason::Unknown,
            "{offered:?}"
        );
    }
}

#[test]
fn services_that_stay_in_the_table_remain_distinct() {
    let mut host = host();
    host.full(443, Offered::Id(1));
    host.full(8443, Offered::Id(2));
    for number in 0..MANY as u16 {
        host.full(
            FIRST_PORT + number,
            Offered::Id(1_000_000 + u64::from(number)),
        );
        if number % 100 == 0 {
            host.full(443, Offered::Nothing);
            host.full(8443, Offered::Nothing);
        }
    }
    assert!(host.diagnoser.retained().evicted_services > 0);
    assert_eq!(host.reason(443, Offered::Id(2)), MissReason::ForeignId);
}

#[test]
fn a_removal_by_an_evicted_process_makes_the_session_unknown() {
    let mut host = host();
    for id in 0..60 {
        host.full(443, Offered::Id(id));
    }
    for id in 57..60 {
        host.handshake(443, Offered::Id(id), true, Offered::Nothing);
    }
    fill_services(&mut host);
    assert_eq!(host.remove(443, 0, RemovalContext::Other), None);
    assert_eq!(host.reason(443, Offered::Id(0)), MissReason::Unknown);
    assert!(!host.diagnoser.was_issued_here(&crate::model::Token {
        hash: 0,
        key: None,
        length: 32,
    }));
}

#[test]
fn an_evicted_process_was_not_restarted() {
    let mut host = host();
    host.full(443, Offered::Id(1));
    for number in 0..MANY {
        host.tgid = Some(TENANT + number);
        host.full(9443, Offered::Nothing);
        // The service itself stays in use.
        if number % 1_000 == 0 {
            host.tgid = Some(443);
            host.full(443, Offered::Nothing);
        }
    }
    let evicted = host.diagnoser.retained().evicted_processes;
    assert!(evicted > 0);
    for number in 0..MANY {
        host.tgid = Some(2 * TENANT + number);
        host.full(9443, Offered::Nothing);
    }
    host.tgid = Some(443);
    host.wait(SECOND);
    assert_eq!(host.reason(443, Offered::Id(1)), MissReason::Unknown);
}

#[test]
fn the_keys_of_a_tenant_do_not_make_others_keys_of_one_connection() {
    let mut host = host();
    let mut invented = 1_000;
    for ticket in 0..12 {
        host.wait(SECOND);
        host.full(443, Offered::Ticket(ticket, 7));
        for port in 0..20 {
            for _ in 0..250 {
                invented += 1;
                host.full(
                    FIRST_PORT + port,
                    Offered::Ticket(u64::from(invented), invented),
                );
            }
        }
    }
    let retained = host.diagnoser.retained();
    assert!(retained.evicted_keys > 40_000 && retained.keys <= 4_096);
    host.session.lookup = Lookup::NotFound;
    host.full(443, Offered::Ticket(50, 7));
    let miss = host.handshake(443, Offered::Ticket(51, 7), false, Offered::Nothing);
    let miss = miss.expect("a miss");
    assert_eq!(miss.reason, MissReason::Unknown, "{miss:?}");
    assert!(!miss.evidence.per_connection_keys);
}

#[test]
fn the_keys_of_one_service_evict_its_own_only() {
    let mut host = host();
    host.full(443, Offered::Ticket(1, 7));
    for key in 0..5_000 {
        host.full(8443, Offered::Ticket(1_000 + u64::from(key), 1_000 + key));
    }
    assert!(host.diagnoser.retained().evicted_keys > 4_000);
    assert_eq!(
        host.reason(8443, Offered::Ticket(1, 7)),
        MissReason::ForeignKey
    );
}

/// A handshake of a client by its number.
fn visit(host: &mut Host, port: u16, client: u32, offered: Offered) -> Option<MissReason> {
    let issued = match offered {
        Offered::Nothing => Offered::Psk(9_000_000 + u64::from(client), 0),
        _ => Offered::Nothing,
    };
    let mut seen = host.observation(port, offered, false, issued);
    if let Some(connection) = &mut seen.connection {
        let address = Ipv4Addr::from_bits(0x0a00_0000 | client);
        connection.remote = SocketAddr::from((address, 50_000));
    }
    host.diagnoser.diagnose(&mut seen);
    seen.miss.map(|miss| miss.reason)
}

#[test]
fn the_issuers_of_an_evicted_client_are_unknown() {
    for evicted in [false, true] {
        let mut host = host();
        // One session of each service.
        visit(&mut host, 443, 1, Offered::Nothing);
        if evicted {
            for client in 0..CLIENTS {
                visit(&mut host, 9443, 100 + client, Offered::Nothing);
            }
            assert!(host.diagnoser.retained().evicted_clients > 0);
        }
        host.wait(SECOND);
        visit(&mut host, 8443, 1, Offered::Nothing);
        let reason = visit(&mut host, 443, 1, Offered::Psk(70, 70));
        assert_eq!(reason, Some(MissReason::Unknown), "evicted: {evicted}");
    }
}
