//! Failed passwords: clients that have sent too many must wait before the next one is compared.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;

/// Failures of a client that cost nothing: typing errors, and the requests of a page.
const FREE_FAILURES: u32 = 5;
/// First waiting time; each further failure doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Maximum waiting time.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Clients with recorded failures; the one that failed least recently is evicted.
const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Time after which the failures of a client are forgotten.
const RETENTION: Duration = Duration::from_secs(600);
/// Failures of all clients per [`BUSY_PERIOD`] from which comparisons slow down.
const BUSY_FAILURES: u32 = 10;
/// Period over which the failures of all clients are counted.
const BUSY_PERIOD: Duration = Duration::from_secs(60);

/// Failed passwords of the clients.
#[derive(Debug)]
pub(super) struct Backoff {
    clients: LruCache<IpAddr, Failures>,
    all: Option<Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    /// Time of the last failure; of the first one, for all clients.
    time: Instant,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            clients: LruCache::new(MAX_CLIENTS),
            all: None,
        }
    }
}

impl Backoff {
    /// Time that the client has to wait before its next password is compared.
    pub(super) fn wait(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.clients.peek(&client)?;
        let further = failures.count.checked_sub(FREE_FAILURES)?;
        let wait = FIRST_WAIT * 2_u32.saturating_pow(further.min(10));
        let elapsed = now.saturating_duration_since(failures.time);
        let wait = wait.min(MAX_WAIT).checked_sub(elapsed)?;
        (!wait.is_zero()).then_some(wait)
    }

    /// Records a wrong password; returns whether there are so many from all clients that
    /// comparisons have to slow down.
    pub(super) fn record_failure(&mut self, client: IpAddr, now: Instant) -> bool {
        let none = Failures {
            count: 0,
            time: now,
        };
        let failures = self.clients.get_or_insert_mut(client, || none);
        if now.saturating_duration_since(failures.time) > RETENTION {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.time = now;
        let all = self.all.get_or_insert(none);
        if now.saturating_duration_since(all.time) > BUSY_PERIOD {
            *all = none;
        }
        all.count = all.count.saturating_add(1);
        all.count > BUSY_FAILURES
    }

    /// Records a correct password.
    pub(super) fn record_success(&mut self, client: IpAddr) {
        self.clients.pop(&client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn the_waiting_time_of_a_client_doubles_up_to_a_minute() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..14 {
            backoff.record_failure(client(1), now);
            let wait = backoff.wait(client(1), now).unwrap_or_default();
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(backoff.wait(client(1), now), None);
        }
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(backoff.wait(client(2), now), None, "another client");
        backoff.record_failure(client(1), now);
        backoff.record_success(client(1));
        assert_eq!(backoff.wait(client(1), now), None);
    }

    #[test]
    fn failures_are_forgotten_and_bounded() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        for _ in 0..20 {
            backoff.record_failure(client(1), now);
        }
        let later = now + RETENTION + Duration::from_secs(1);
        backoff.record_failure(client(1), later);
        assert_eq!(backoff.wait(client(1), later), None);
        for number in 0..5_000_u32 {
            backoff.record_failure(IpAddr::V4((number + 1).into()), later);
        }
        assert_eq!(backoff.clients.len(), MAX_CLIENTS.get());
    }

    #[test]
    fn failures_from_many_clients_slow_down_all_comparisons() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        let busy = |backoff: &mut Backoff, now| {
            [1, 2, 3, 4, 5, 6].map(|last| backoff.record_failure(client(last), now))
        };
        assert_eq!(busy(&mut backoff, now), [false; 6]);
        assert_eq!(
            busy(&mut backoff, now),
            [false, false, false, false, true, true]
        );
        assert_eq!(busy(&mut backoff, now + BUSY_PERIOD * 2), [false; 6]);
    }
}
