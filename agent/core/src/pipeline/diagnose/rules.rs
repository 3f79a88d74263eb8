//! Rules for the reason of a miss, as data: the first rule that matches decides.

use super::{
    facts::{Age, CLOCK_NS, FULL_RANK, Issuer, KeyOwner, RuleInput, Stored, TicketKey, beyond},
    process::Relation,
};
use crate::model::{Lookup, MissReason, Removal};

/// Ranks at which even the smallest cache still holds a session.
pub(super) const LOW_RANK: u64 = 4;
/// Acceptances from which the highest accepted rank describes the cache's capacity.
const ENOUGH_ACCEPTED: u64 = 3;

/// Name of the rule for tickets under keys that the service does not have.
const KEY_NEVER_USED: &str = "key_never_used";
/// Name of the rule for misses that no other rule decides.
pub(super) const UNDECIDED: &str = "not_enough_evidence";

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Name, exported with each miss.
    pub name: &'static str,
    /// Evidence that it requires, for the documentation.
    pub evidence: &'static str,
    /// Reason that it gives.
    pub reason: MissReason,
    pub(super) when: fn(&RuleInput) -> bool,
}

/// The rules in order.
pub const RULES: [Rule; 33] = [
    Rule {
        name: "clock_ahead_of_session",
        evidence: "the server's library found the session, and it begins in the future of the server's clock",
        reason: MissReason::Clock,
        when: |input| input.library_age().is_some_and(|age| age < -CLOCK_NS),
    },
    Rule {
        name: "clock_stepped",
        evidence: "the library found the session and its clock calls it expired; it was observed to be within its lifetime",
        reason: MissReason::Clock,
        when: |input| {
            input.library_says_expired() == Some(true)
                && input.age == Age::Within
                && input.ages_differ()
        },
    },
    Rule {
        name: "clock_differs",
        evidence: "the library's clock differs from this host's and calls the session expired, and this host's does not; its issue was not observed",
        reason: MissReason::Unknown,
        when: |input| {
            input.library_says_expired() == Some(true)
                && input.age == Age::Unknown
                && input.within_by_host_clock
        },
    },
    Rule {
        name: "library_found_expired",
        evidence: "the library found the session, older than its lifetime",
        reason: MissReason::Expired,
        when: |input| input.library_says_expired() == Some(true),
    },
    Rule {
        name: "library_rejected",
        evidence: "the library found the session, within its lifetime, and rejected it",
        reason: MissReason::Refused,
        when: |input| input.library_says_expired() == Some(false),
    },
    Rule {
        name: "library_rejected_age_unknown",
        evidence: "the library found the session and rejected it; its age was not read",
        reason: MissReason::Unknown,
        when: |input| matches!(input.lookup, Lookup::Rejected { .. }),
    },
    Rule {
        name: "removed_by_stepped_clock",
        evidence: "the library removed the session as expired, and it was observed to be within its lifetime",
        reason: MissReason::Clock,
        when: |input| input.removed == Some(Removal::Expired) && input.age == Age::Within,
    },
    Rule {
        name: "removed_as_expired",
        evidence: "the library removed the session from its cache as expired",
        reason: MissReason::Expired,
        when: |input| input.removed == Some(Removal::Expired),
    },
    Rule {
        name: "single_use",
        evidence: "the session was accepted once, and the server allows each to be used once",
        reason: MissReason::Unknown,
        when: |input| input.is_entry() && input.used_up,
    },
    Rule {
        name: "removed_from_cache",
        evidence: "the session was removed from the cache before, for another cause",
        reason: MissReason::Removed,
        when: |input| input.is_entry() && input.removed.is_some(),
    },
    Rule {
        name: "version_or_mode",
        evidence: "the service issued the session or uses its key, but agreed on a version or mode that cannot resume it",
        reason: MissReason::Refused,
        when: |input| {
            !input.considered
                && input.age != Age::Over
                && (matches!(input.issuer, Issuer::ThisService | Issuer::Process(_))
                    || matches!(
                        input.key_owner(),
                        Some(KeyOwner::Own { .. } | KeyOwner::Process(_) | KeyOwner::ThisService)
                    ))
        },
    },
    Rule {
        name: "version_or_mode_unknown_session",
        evidence: "the version or mode agreed on cannot resume such a session, and nothing else is known of it",
        reason: MissReason::Unknown,
        when: |input| !input.considered,
    },
    Rule {
        name: "clock_stepped_past_lifetime",
        evidence: "the server's clock was stepped since it issued the session, which is past its lifetime by that clock and was observed to be within",
        reason: MissReason::Clock,
        when: |input| {
            (input.is_entry() || input.lookup == Lookup::Unobserved)
                && input.expired_by_step
                && input.age == Age::Within
                && matches!(input.issuer, Issuer::ThisService | Issuer::Process(_))
                && input.issuer != Issuer::Process(Relation::Ended)
        },
    },
    Rule {
        name: "observed_expired",
        evidence: "the service, or another one on this host in the case of an ID, issued the session longer ago than its lifetime",
        reason: MissReason::Expired,
        when: |input| {
            let is_known = match input.issuer {
                Issuer::ThisService | Issuer::Process(_) => true,
                Issuer::OtherService => input.is_entry(),
                Issuer::Unknown => false,
            };
            is_known && input.age == Age::Over
        },
    },
    Rule {
        name: "id_of_other_service",
        evidence: "another service on this host issued the ID, and the two share no cache",
        reason: MissReason::ForeignId,
        when: |input| input.is_entry() && input.issuer == Issuer::OtherService,
    },
    Rule {
        name: "never_stored",
        evidence: "the service has missed sessions in the process that issued them, at a rank below any cache's capacity, and accepted none",
        reason: MissReason::NotStored,
        when: |input| {
            input.is_entry()
                && input.stored == Stored::Never
                && matches!(input.issuer, Issuer::Process(_))
        },
    },
    Rule {
        name: "cache_gone_with_process",
        evidence: "the process that issued the session has ended, the service was not seen to share a cache between processes, and issuers missed none of their own sessions at this rank",
        reason: MissReason::Restarted,
        when: |input| {
            input.is_entry()
                && input.issuer == Issuer::Process(Relation::Ended)
                && !input.shared
                && !input.may_be_evicted()
        },
    },
    Rule {
        name: "shared_cache_gone_with_process",
        evidence: "the process that issued the session had ended before the one that missed it served; processes share a cache that holds more than were issued since, and none found a session of an ended process",
        reason: MissReason::Restarted,
        when: |input| {
            input.is_entry()
                && input.issuer == Issuer::Process(Relation::Ended)
                && input.succeeded_issuer
                && input.lookup == Lookup::NotFound
                && input.age == Age::Within
                && !input.survives
                && input.fits_cache()
                && !input.may_be_evicted()
        },
    },
    Rule {
        name: "cache_of_other_process",
        evidence: "another live process of the service issued the session; processes accept their own sessions and none of another",
        reason: MissReason::OtherProcess,
        when: |input| {
            input.is_entry()
                && input.issuer == Issuer::Process(Relation::Parallel)
                && !input.shared
                && matches!(input.stored, Stored::Accepted { .. })
        },
    },
    Rule {
        name: "cache_emptied",
        evidence: "from one moment on, the process that issued the session misses all those used before, and accepts those used after; it accepted sessions after as many others and as long a time before",
        reason: MissReason::Removed,
        when: |input| {
            input.is_entry()
                && input.issuer == Issuer::Process(Relation::Same)
                && input.lookup == Lookup::NotFound
                && input.age == Age::Within
                && input.emptied
        },
    },
    Rule {
        name: "beyond_accepted_rank",
        evidence: "half as many sessions again were issued since as at any acceptance, and enough to fill a cache; none was missed at a low rank since the last acceptance",
        reason: MissReason::Evicted,
        when: |input| {
            let Stored::Accepted {
                count,
                max_rank,
                missed_low: false,
            } = input.stored
            else {
                return false;
            };
            input.is_entry_of_reachable_cache()
                && input.age == Age::Within
                && count >= ENOUGH_ACCEPTED
                && input
                    .rank
                    .is_some_and(|rank| rank >= FULL_RANK && rank > beyond(max_rank))
        },
    },
    Rule {
        name: "rank_of_full_cache",
        evidence: "so many sessions were issued since that a cache can be full, and none was accepted or missed at a low rank",
        reason: MissReason::Evicted,
        when: |input| {
            let in_reach = input.issuer == Issuer::Process(Relation::Same)
                || (input.issuer == Issuer::Process(Relation::Parallel) && input.may_be_evicted());
            input.is_entry()
                && input.lookup == Lookup::NotFound
                && in_reach
                && input.age == Age::Within
                && input.stored == Stored::Unknown
                && input.rank.is_some_and(|rank| rank >= FULL_RANK)
        },
    },
    Rule {
        name: "key_of_other_service",
        evidence: "another service on this host uses the ticket's key, and this one never did",
        reason: MissReason::ForeignKey,
        when: |input| input.key_owner() == Some(KeyOwner::OtherService),
    },
    Rule {
        name: "ticket_of_other_service",
        evidence: "another service on this host issued this very ticket, under a key that this one never used",
        reason: MissReason::ForeignKey,
        when: |input| {
            input.ticket_key() == Some(TicketKey::Unseen) && input.issuer == Issuer::OtherService
        },
    },
    Rule {
        name: "key_of_one_connection",
        evidence: "the service used the ticket's key for one connection only, and uses a new key for nearly every connection",
        reason: MissReason::RetiredKey,
        when: |input| input.key_owner() == Some(KeyOwner::OneConnection),
    },
    Rule {
        name: "key_of_other_process",
        evidence: "another live process of the service uses the ticket's key for several tickets, and the one that missed it never did",
        reason: MissReason::OtherProcess,
        when: |input| input.key_owner() == Some(KeyOwner::Process(Relation::Parallel)),
    },
    Rule {
        name: "key_gone_with_process",
        evidence: "every process that used the ticket's key has ended",
        reason: MissReason::Restarted,
        when: |input| input.key_owner() == Some(KeyOwner::Process(Relation::Ended)),
    },
    Rule {
        name: "ticket_of_ended_process",
        evidence: "a process of the service that has ended issued this very ticket, and no live process was seen to use its key, nor to accept a ticket of an ended process",
        reason: MissReason::Restarted,
        when: |input| {
            matches!(
                input.ticket_key(),
                Some(TicketKey::Unnamed | TicketKey::Unseen)
            ) && input.issuer == Issuer::Process(Relation::Ended)
                && !input.keys_survive
        },
    },
    Rule {
        name: "key_replaced",
        evidence: "the process has used newer keys since the service last used the ticket's key",
        reason: MissReason::RetiredKey,
        when: |input| {
            matches!(
                input.key_owner(),
                Some(KeyOwner::Own { replaced: true, .. })
            )
        },
    },
    Rule {
        name: "own_ticket_rejected",
        evidence: "the process issued this very ticket, within its lifetime, and answered with one under the same key; its look-up was not observed",
        reason: MissReason::Refused,
        when: |input| {
            input.lookup == Lookup::Unobserved
                && matches!(input.key_owner(), Some(KeyOwner::Own { current: true, .. }))
                && input.issuer == Issuer::Process(Relation::Same)
                && input.age == Age::Within
        },
    },
    Rule {
        name: KEY_NEVER_USED,
        evidence: "the library found no session; every key that the service used within a lifetime is known, and this one is not among them; the service gave this client no TLS 1.3 session",
        reason: MissReason::ForeignKey,
        when: |input| {
            input.ticket_key() == Some(TicketKey::Unseen)
                && input.lookup == Lookup::NotFound
                && input.issuer == Issuer::Unknown
                && input.keys_are_known
        },
    },
    Rule {
        name: "ticket_without_key_name",
        evidence: "the service's tickets do not begin with a key name",
        reason: MissReason::Unknown,
        when: |input| input.ticket_key() == Some(TicketKey::Unnamed),
    },
    Rule {
        name: UNDECIDED,
        evidence: "anything else",
        reason: MissReason::Unknown,
        when: |_| true,
    },
];

/// The first rule that matches.
pub(super) fn decide(input: &RuleInput) -> &'static Rule {
    static TABLE: [Rule; RULES.len()] = RULES;
    let matching = TABLE.iter().find(|rule| (rule.when)(input));
    matching.unwrap_or(&TABLE[RULES.len() - 1])
}

/// Whether the rule of this name gives a reason without any issuer of the session: no rule that
/// needs one has matched before.
pub(super) fn requires_no_issuer(name: &str) -> bool {
    [UNDECIDED, KEY_NEVER_USED].contains(&name)
}

/// Rules for the misses of clients, with the evidence that they require.
const CLIENT_RULES: [(&str, &str); 2] = [
    (
        "client_observed_expired",
        "the client offered the session after the lifetime that the server had named",
    ),
    (
        "client_not_enough_evidence",
        "no server on this host shows the reason",
    ),
];

/// The evidence that the rule of this name requires, in words; `None` for an unknown name.
#[must_use]
pub fn required_evidence(name: &str) -> Option<&'static str> {
    let rules = RULES.iter().map(|rule| (rule.name, rule.evidence));
    let mut rules = rules.chain(CLIENT_RULES);
    rules.find_map(|(known, evidence)| (known == name).then_some(evidence))
}
