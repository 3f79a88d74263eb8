//! Hostile clients: invented session IDs, tickets and PSK identities change nothing for others.

use super::super::*;
use super::host::{Host, Offered, SECOND};
use crate::model::{Evidence, Miss, MissReason};

/// Port of a server with a session cache in each of its processes.
const CACHE: u16 = 443;
/// Port of a server with two workers and a ticket key each.
const WORKERS: u16 = 8443;
/// Port of a server that is restarted, and replaces its ticket key later.
const KEYS: u16 = 9443;
/// Port of a server that only the packets show, without key names in its tickets.
const WIRE: u16 = 7443;
const HONEST: u8 = 2;
const HOSTILE: u8 = 66;
/// Invented sessions of each kind per attack; there are six attacks.
const INVENTED: u64 = 4_000;

/// Steps of honest clients, and what is reported of their misses.
struct Story {
    host: Host,
    /// The hostile client acts between the steps.
    attacked: bool,
    acts: u64,
    misses: Vec<(MissReason, Evidence)>,
}

impl Story {
    fn new(attacked: bool) -> Self {
        let mut host = Host::new();
        host.diagnoser = Diagnoser::new(65_536, 64);
        Self {
            host,
            attacked,
            acts: 0,
            misses: Vec::new(),
        }
    }

    /// One honest handshake in process `tgid`.
    fn step(&mut self, port: u16, tgid: u32, offered: Offered, resumed: bool, issued: Offered) {
        let host = &mut self.host;
        host.wait(SECOND / 10);
        (host.tgid, host.client, host.wire_only) = (Some(tgid), HONEST, port == WIRE);
        let miss = host.handshake(port, offered, resumed, issued);
        self.misses.extend(miss.map(
            |Miss {
                 reason, evidence, ..
             }| (reason, evidence),
        ));
    }

    /// The hostile client offers invented sessions to a process, which issues tickets under this
    /// key in return, or tickets without a key name.
    fn attack(&mut self, port: u16, tgid: u32, key: Option<u32>) {
        if !self.attacked {
            return;
        }
        let host = &mut self.host;
        (host.tgid, host.client, host.wire_only) = (Some(tgid), HOSTILE, port == WIRE);
        for number in 0..INVENTED {
            let hash = 1 << 40 | self.acts << 20 | number;
            let invented = (self.acts << 16 | number) as u32 | 1 << 28;
            let answer = Offered::Ticket(1 << 41 | hash, key.unwrap_or(1 << 29 | invented));
            for (offered, issued) in [
                (Offered::Id(hash), Offered::Nothing),
                (Offered::Ticket(hash, invented), answer),
                (Offered::Psk(hash, invented), Offered::Nothing),
                (Offered::Psk(hash, 0), Offered::Nothing),
            ] {
                host.handshake(port, offered, false, issued);
            }
        }
        self.acts += 1;
    }

    fn caches(&mut self) {
        for id in 0..40 {
            self.step(CACHE, 1, Offered::Nothing, false, Offered::Id(id));
        }
        self.attack(CACHE, 1, Some(5));
        for id in 36..40 {
            self.step(CACHE, 1, Offered::Id(id), true, Offered::Nothing);
        }
        for id in 0..40 {
            self.step(CACHE, 1, Offered::Id(id), false, Offered::Id(100 + id));
        }
        self.host
            .diagnoser
            .process_ended(1, self.host.now_ns, false);
        self.attack(CACHE, 2, Some(5));
        for id in 120..140 {
            self.step(CACHE, 2, Offered::Id(id), false, Offered::Nothing);
        }
    }

    fn workers(&mut self) {
        for round in 0..10 {
            for (worker, key) in [(11, 21), (12, 22)] {
                let ticket = Offered::Psk(1_000 + 10 * round + u64::from(worker), key);
                self.step(WORKERS, worker, ticket, true, Offered::Nothing);
                let ticket = Offered::Ticket(2_000 + 10 * round + u64::from(worker), key);
                self.step(WORKERS, worker, ticket, true, Offered::Nothing);
            }
            if round == 5 {
                self.attack(WORKERS, 11, Some(21));
            }
        }
        for number in 0..20 {
            for offered in [Offered::Psk, Offered::Ticket] {
                let ticket = offered(3_000 + number, 22);
                self.step(WORKERS, 11, ticket, false, Offered::Nothing);
            }
        }
    }

    fn keys(&mut self) {
        for number in 0..20 {
            let issued = Offered::Ticket(4_000 + number, 31);
            self.step(KEYS, 31, Offered::Nothing, false, issued);
            let issued = Offered::Psk(5_000 + number, 0);
            self.step(KEYS, 31, Offered::Nothing, false, issued);
        }
        self.host
            .diagnoser
            .process_ended(31, self.host.now_ns, false);
        self.attack(KEYS, 32, Some(32));
        for number in 0..20 {
            let offered = Offered::Ticket(4_000 + number, 31);
            let issued = Offered::Ticket(4_100 + number, 32);
            self.step(KEYS, 32, offered, false, issued);
            let offered = Offered::Psk(6_000 + number, 31);
            self.step(KEYS, 32, offered, false, Offered::Nothing);
        }
        for number in 0..20 {
            let issued = Offered::Ticket(4_200 + number, 33);
            self.step(KEYS, 32, Offered::Nothing, false, issued);
        }
        self.attack(KEYS, 32, Some(33));
        for number in 0..20 {
            let offered = Offered::Ticket(4_100 + number, 32);
            self.step(KEYS, 32, offered, false, Offered::Nothing);
            // A key of the other service.
            let offered = Offered::Psk(7_000 + number, 21);
            self.step(KEYS, 32, offered, false, Offered::Nothing);
        }
    }

    fn wire(&mut self) {
        for number in 0..20 {
            let key = 500 + number as u32;
            let ticket = Offered::Ticket(8_000 + number, key);
            self.step(WIRE, 41, Offered::Nothing, false, ticket);
            self.step(WIRE, 41, ticket, true, Offered::Nothing);
        }
        self.attack(WIRE, 41, None);
        for number in 0..20 {
            let offered = Offered::Ticket(8_000 + number, 500 + number as u32);
            self.step(WIRE, 41, offered, false, Offered::Nothing);
            let offered = Offered::Psk(9_000 + number, 600 + number as u32);
            self.step(WIRE, 41, offered, false, Offered::Nothing);
        }
    }

    fn misses(mut self) -> Vec<(MissReason, Evidence)> {
        self.caches();
        self.workers();
        self.keys();
        self.wire();
        self.misses
    }
}

#[test]
fn invented_sessions_and_keys_change_nothing_for_others() {
    let [peaceful, attacked] = [false, true].map(|attacked| Story::new(attacked).misses());
    assert_eq!(peaceful.len(), attacked.len());
    for (number, (before, after)) in peaceful.iter().zip(&attacked).enumerate() {
        assert_eq!(before, after, "miss {number}");
    }
    let count = |wanted| {
        let reasons = peaceful.iter().filter(|(reason, _)| *reason == wanted);
        reasons.count()
    };
    // The story has misses of every kind that the tables of sessions and keys decide on.
    for reason in [
        MissReason::Evicted,
        MissReason::Restarted,
        MissReason::OtherProcess,
        MissReason::RetiredKey,
        MissReason::ForeignKey,
    ] {
        assert!(count(reason) >= 15, "{reason:?}: {}", count(reason));
    }
}
