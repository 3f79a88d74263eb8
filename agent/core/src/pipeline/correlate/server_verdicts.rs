//! Misses of clients whose server is on this host, too: the client's miss gets the server's
//! verdict, since only the server shows most reasons. The client random joins both ends, even
//! through relays and translated addresses; where several handshakes show one random, only the two
//! ends of one connection are joined. Bounded: if too many wait, or if the wait ends without a
//! verdict, a client's miss is concluded from what the client shows.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::wire_handshakes::{WAIT_NS, WireHandshakes};
use crate::model::{ClientRandom, HelloFacts, Miss, MissReason, Observation, Role};

/// Verdicts that wait for their client, and clients that wait for their verdict.
const MAX_WAITING: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// How long after its end a client's miss waits for the server's verdict, nanoseconds: the server
/// ends later than the client, and may be concluded from the wire.
pub(super) const VERDICT_WAIT_NS: u64 = WAIT_NS + 1_000_000_000;

/// Table of verdicts and clients.
#[derive(Debug)]
pub(super) struct ServerVerdicts {
    verdicts: LruCache<ClientRandom, Miss>,
    /// In the order of their conclusion.
    clients: LruCache<ClientRandom, Observation>,
}

impl ServerVerdicts {
    pub(super) fn new() -> Self {
        Self {
            verdicts: LruCache::new(MAX_WAITING),
            clients: LruCache::new(MAX_WAITING),
        }
    }

    /// Adds a diagnosed handshake; `out` receives it, and a client's that waited for it, unless it
    /// waits itself.
    pub(super) fn join(
        &mut self,
        mut seen: Observation,
        wire: &WireHandshakes,
        out: &mut impl FnMut(Observation),
    ) {
        let Some(HelloFacts { client_random, .. }) = seen.hello else {
            return out(seen);
        };
        match seen.role {
            Role::Server => {
                let verdict = seen.miss;
                out(seen);
                if let Some(mut client) = self.clients.pop(&client_random) {
                    if !wire.is_repeated(client_random) || are_one(&client, &seen) {
                        apply(&mut client, verdict);
                    }
                    out(client);
                } else if let Some(verdict) = verdict
                    && wire.has_endpoint(Role::Client, client_random)
                {
                    self.verdicts.put(client_random, verdict);
                }
            }
            Role::Client if seen.miss.is_none() => out(seen),
            Role::Client => {
                let verdict = self.verdicts.pop(&client_random);
                if let Some(verdict) = verdict.filter(|_| !wire.is_repeated(client_random)) {
                    apply(&mut seen, Some(verdict));
                    out(seen);
                } else if wire.has_endpoint(Role::Server, client_random) {
                    if let Some((_, oldest)) = self.clients.push(client_random, seen) {
                        out(oldest);
                    }
                } else {
                    out(seen);
                }
            }
        }
    }

    /// The next client whose wait is over at `now_ns`, without a verdict; each call removes one.
    pub(super) fn expire(&mut self, now_ns: u64) -> Option<Observation> {
        let (_, oldest) = self.clients.peek_lru()?;
        let is_over = oldest.time_ns.saturating_add(VERDICT_WAIT_NS) <= now_ns;
        let (_, oldest) = is_over.then(|| self.clients.pop_lru()).flatten()?;
        Some(oldest)
    }

    /// Clients that wait.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }
}

/// Whether both are the ends of one connection.
fn are_one(client: &Observation, server: &Observation) -> bool {
    let both = client.connection.zip(server.connection);
    both.is_some_and(|(client, server)| client.is_opposite(&server))
}

/// Replaces a client's verdict by the server's, unless the server knows no reason.
fn apply(client: &mut Observation, verdict: Option<Miss>) {
    let known = verdict.filter(|verdict| verdict.reason != MissReason::Unknown);
    if let Some(verdict) = known {
        client.miss = Some(Miss {
            // Sessions that packet loss has cost are counted for the server's handshake.
            lossy: false,
            ..verdict
        });
    }
}
