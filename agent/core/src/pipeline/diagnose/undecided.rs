//! Misses that no rule decides at first. A new key, an emptied cache or a second worker shows only
//! in the handshakes that follow, so that such a miss is evaluated once more a little later. What
//! was true of the session when it was missed remains: its age and rank, and which processes had
//! ended.

use super::{
    emptied::Distance,
    facts::{KeyOwner, Offered, RuleInput, TicketKey},
    input, keys,
    rules::{self, Rule},
    sessions::IssuedSession,
    tables::{Server, Tables, entry_kind},
};
use crate::model::{HelloFacts, Lookup, Mechanism, Miss, Token};

/// Rules whose evidence may follow the miss. The other rules depend on what was known before the
/// miss: an acceptance that follows does not show the rank at which the cache was full.
const LATE_RULES: [&str; 7] = [
    "never_stored",
    "cache_of_other_process",
    "cache_emptied",
    "key_of_one_connection",
    "key_of_other_process",
    "key_gone_with_process",
    "key_replaced",
];

/// A server's miss without a reason, with the facts as of the miss.
#[derive(Debug, Clone, Copy)]
pub struct UndecidedMiss {
    server: Server,
    mechanism: Mechanism,
    issued: Option<IssuedSession>,
    /// Sessions and time for which the issuer's cache must have held the session.
    distance: Option<Distance>,
    input: RuleInput,
    lifetime_ns: Option<u64>,
}

impl Tables {
    /// The miss that no rule decided, if later evidence may decide it.
    pub(super) fn undecided(
        &self,
        server: &Server,
        hello: &HelloFacts,
        mechanism: Mechanism,
        offer: &input::Offer,
    ) -> Option<UndecidedMiss> {
        let is_undecided = rules::decide(&offer.input).name == rules::UNDECIDED;
        (is_undecided && server.by_library).then(|| UndecidedMiss {
            server: *server,
            mechanism,
            issued: offer.issued,
            distance: offer
                .issued
                .and_then(|issued| self.distance(&issued, entry_kind(hello), hello.begin_ns)),
            input: offer.input,
            lifetime_ns: offer.lifetime_ns,
        })
    }

    /// Evaluates a miss with the evidence that has followed it.
    pub(super) fn reconsider(
        &mut self,
        hello: &HelloFacts,
        miss: &mut Miss,
        undecided: &UndecidedMiss,
    ) {
        let Some(token) = hello.offered(undecided.mechanism) else {
            return;
        };
        let input = self.late_input(hello, undecided, &token);
        let rule = rules::decide(&input);
        if LATE_RULES.contains(&rule.name) {
            self.apply(rule, miss, undecided);
        }
    }

    fn apply(&self, rule: &Rule, miss: &mut Miss, undecided: &UndecidedMiss) {
        let service = self.services.root(undecided.server.service);
        let evidence = &mut miss.evidence;
        let used = evidence.key.and_then(|key| self.keys.get(service, key));
        let user = used.and_then(|used| used.users().next());
        miss.reason = rule.reason;
        evidence.rule = rule.name;
        evidence.key_used_by = user.map(|process| process.tgid);
        evidence.per_connection_keys =
            undecided.input.offered != Offered::Entry && self.has_key_per_connection(service);
    }

    fn late_input(
        &mut self,
        hello: &HelloFacts,
        undecided: &UndecidedMiss,
        token: &Token,
    ) -> RuleInput {
        let UndecidedMiss { server, issued, .. } = undecided;
        let (now_ns, kind) = (hello.begin_ns, entry_kind(hello));
        let state = self.state(server.service);
        let storage = state.storage[kind];
        let emptied = issued
            .zip(undecided.distance)
            .is_some_and(|(issued, distance)| {
                let process = issued.process;
                let history = process.and_then(|process| self.processes.history(process, kind));
                history.is_some_and(|history| history.was_emptied(issued.used_ns, distance))
            });
        RuleInput {
            offered: self.late_offer(hello, undecided, token),
            issuer: self.issuer(issued.as_ref(), server, now_ns),
            stored: input::stored(&storage),
            shared: state.shares_cache,
            survives: state.cache_outlives_process,
            own_miss_rank: storage.high_miss_rank,
            emptied,
            ..undecided.input
        }
    }

    fn late_offer(
        &mut self,
        hello: &HelloFacts,
        undecided: &UndecidedMiss,
        token: &Token,
    ) -> Offered {
        let Some(key) = keys::key_of(token).filter(|_| undecided.input.offered != Offered::Entry)
        else {
            return undecided.input.offered;
        };
        let owner = self.ticket_key(
            &undecided.server,
            hello,
            undecided.mechanism,
            (key, token.hash),
            undecided.lifetime_ns,
        );
        // A key that was replaced after the miss is not its reason. The library did not know the
        // key any more, or the answer was under another one.
        let answer = hello.issued_ticket.as_ref().and_then(keys::key_of);
        let was_replaced =
            undecided.input.lookup == Lookup::NotFound || answer.is_some_and(|other| other != key);
        match owner {
            TicketKey::Owned(KeyOwner::Own { replaced: true, .. }) if !was_replaced => {
                undecided.input.offered
            }
            owner => Offered::Ticket(owner),
        }
    }
}
