//! The rules of the table in `diagnose`, as one function over facts.

use crate::model::{Lookup, MissReason, Removal};

const SECOND_NS: u64 = 1_000_000_000;
/// Libraries keep times in seconds: an age this close to the lifetime tells nothing.
const ROUNDING_NS: u64 = SECOND_NS;
/// Lifetime to assume where none is known: what RFC 5246, section F.1.4, recommends at most.
const LONGEST_NS: u64 = 24 * 3_600 * SECOND_NS;
/// A service is known after so many lifetimes of its sessions.
const LIFETIMES: u64 = 4;

/// What is known of the key a ticket is encrypted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// The service was never seen to use it.
    Never,
    /// It was.
    Used,
    /// It was, and has used another one since.
    Superseded,
}

/// Everything that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// What the library's look-up came to.
    pub(super) lookup: Lookup,
    /// Whether the server looks at what was offered, in the version agreed on.
    pub(super) looks: bool,
    /// The ticket's key; `None` where it is no ticket.
    pub(super) key: Option<Key>,
    /// Whether the service that missed it had given it; `None` where nobody was seen to.
    pub(super) issued_here: Option<bool>,
    /// How long ago it was given.
    pub(super) age_ns: Option<u64>,
    /// How long it was to live.
    pub(super) lifetime_ns: Option<u64>,
    /// It was taken out of the cache before.
    pub(super) removed: Option<Removal>,
    /// How long the service has been watched.
    pub(super) watched_ns: u64,
    /// How far back everything that was given is remembered.
    pub(super) remembered_ns: u64,
    /// The client was given a session by this service, after watching began.
    pub(super) known_client: bool,
}

/// The reason, by the first rule that matches.
pub(super) fn decide(facts: &Facts) -> MissReason {
    if let Lookup::Rejected {
        age_ns,
        lifetime_ns,
    } = facts.lookup
    {
        return match age_ns {
            Some(age_ns) if age_ns >= lifetime_ns => MissReason::Expired,
            Some(_) => MissReason::Refused,
            None => MissReason::Unknown,
        };
    }
    match facts.removed {
        Some(Removal::Expired) => return MissReason::Expired,
        Some(_) if facts.key.is_none() => return MissReason::Removed,
        _ => {}
    }
    let here = facts.issued_here == Some(true);
    let over = here.then(|| facts.over()).flatten();
    if !facts.looks {
        let own = here || matches!(facts.key, Some(Key::Used | Key::Superseded));
        return if own && over != Some(true) {
            MissReason::Refused
        } else {
            MissReason::Unknown
        };
    }
    match facts.key {
        Some(key) => by_key(facts, key, over),
        None => by_id(facts, over),
    }
}

fn by_key(facts: &Facts, key: Key, over: Option<bool>) -> MissReason {
    let nothing = facts.lookup == Lookup::NotFound;
    match key {
        _ if over == Some(true) => MissReason::Expired,
        Key::Never if nothing => MissReason::ForeignKey,
        Key::Used | Key::Superseded if nothing => MissReason::RetiredKey,
        Key::Superseded => MissReason::RetiredKey,
        Key::Used if over == Some(false) => MissReason::Refused,
        Key::Never if facts.watched_ns >= facts.known_after() => MissReason::ForeignKey,
        Key::Never | Key::Used => MissReason::Unknown,
    }
}

fn by_id(facts: &Facts, over: Option<bool>) -> MissReason {
    match (facts.issued_here, over) {
        (Some(true), Some(true)) => MissReason::Expired,
        (Some(true), Some(false)) => MissReason::Evicted,
        (Some(true), None) => MissReason::Unknown,
        (Some(false), _) => MissReason::ForeignId,
        (None, _) => {
            let known = facts.known_after();
            if facts.known_client && facts.watched_ns >= known && facts.remembered_ns >= known {
                MissReason::ForeignId
            } else {
                MissReason::Unknown
            }
        }
    }
}

impl Facts {
    /// Whether it was older than its lifetime; `None` where that is not known, or too close.
    fn over(&self) -> Option<bool> {
        let (age, lifetime) = self.age_ns.zip(self.lifetime_ns)?;
        if is_over(age, lifetime) {
            return Some(true);
        }
        (age.saturating_add(ROUNDING_NS) < lifetime).then_some(false)
    }

    const fn known_after(&self) -> u64 {
        match self.lifetime_ns {
            Some(lifetime) => lifetime.saturating_mul(LIFETIMES),
            None => LONGEST_NS,
        }
    }
}

/// Whether an age is surely beyond a lifetime.
pub(super) const fn is_over(age_ns: u64, lifetime_ns: u64) -> bool {
    age_ns > lifetime_ns.saturating_add(ROUNDING_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: u64 = 300 * SECOND_NS;
    /// Nothing is known.
    const BLIND: Facts = Facts {
        lookup: Lookup::Unobserved,
        looks: true,
        key: None,
        issued_here: None,
        age_ns: None,
        lifetime_ns: Some(LIFETIME),
        removed: None,
        watched_ns: 0,
        remembered_ns: u64::MAX,
        known_client: false,
    };

    fn found(age: u64) -> Facts {
        Facts {
            lookup: Lookup::Rejected {
                age_ns: Some(age),
                lifetime_ns: LIFETIME,
            },
            ..BLIND
        }
    }

    fn issued(here: bool, age: u64) -> Facts {
        Facts {
            issued_here: Some(here),
            age_ns: Some(age),
            ..BLIND
        }
    }

    fn ticket(key: Key, lookup: Lookup) -> Facts {
        Facts {
            key: Some(key),
            lookup,
            ..BLIND
        }
    }

    #[test]
    fn each_rule_of_the_table() {
        let known = Facts {
            watched_ns: LIFETIMES * LIFETIME,
            known_client: true,
            ..BLIND
        };
        let removed = |removal| Facts {
            removed: Some(removal),
            ..issued(true, SECOND_NS)
        };
        let ignored = |facts: Facts| Facts {
            looks: false,
            ..facts
        };
        let own_ticket = |age| Facts {
            key: Some(Key::Used),
            ..issued(true, age)
        };
        let rules = [
            (1, found(LIFETIME), MissReason::Expired),
            (2, found(LIFETIME - 1), MissReason::Refused),
            (3, removed(Removal::Expired), MissReason::Expired),
            (3, removed(Removal::UncleanClose), MissReason::Removed),
            (3, removed(Removal::Application), MissReason::Removed),
            (
                4,
                ignored(ticket(Key::Used, Lookup::NotFound)),
                MissReason::Refused,
            ),
            (4, ignored(issued(true, SECOND_NS)), MissReason::Refused),
            (
                5,
                ignored(ticket(Key::Never, Lookup::NotFound)),
                MissReason::Unknown,
            ),
            (5, ignored(issued(true, 2 * LIFETIME)), MissReason::Unknown),
            (6, own_ticket(2 * LIFETIME), MissReason::Expired),
            (
                7,
                ticket(Key::Never, Lookup::NotFound),
                MissReason::ForeignKey,
            ),
            (
                8,
                ticket(Key::Used, Lookup::NotFound),
                MissReason::RetiredKey,
            ),
            (
                8,
                ticket(Key::Superseded, Lookup::NotFound),
                MissReason::RetiredKey,
            ),
            (
                9,
                ticket(Key::Superseded, Lookup::Unobserved),
                MissReason::RetiredKey,
            ),
            (10, own_ticket(SECOND_NS), MissReason::Refused),
            (
                11,
                Facts {
                    key: Some(Key::Never),
                    ..known
                },
                MissReason::ForeignKey,
            ),
            (12, issued(true, 2 * LIFETIME), MissReason::Expired),
            (13, issued(true, SECOND_NS), MissReason::Evicted),
            (14, issued(false, SECOND_NS), MissReason::ForeignId),
            (15, known, MissReason::ForeignId),
            (16, BLIND, MissReason::Unknown),
            (
                16,
                ticket(Key::Never, Lookup::Unobserved),
                MissReason::Unknown,
            ),
            (
                16,
                ticket(Key::Used, Lookup::Unobserved),
                MissReason::Unknown,
            ),
            // So close to its end that rounding decides.
            (16, issued(true, LIFETIME), MissReason::Unknown),
            (
                16,
                Facts {
                    known_client: false,
                    ..known
                },
                MissReason::Unknown,
            ),
            (
                16,
                Facts {
                    remembered_ns: LIFETIME,
                    ..known
                },
                MissReason::Unknown,
            ),
            (
                16,
                Facts {
                    lifetime_ns: None,
                    ..known
                },
                MissReason::Unknown,
            ),
        ];
        for (rule, facts, reason) in rules {
            assert_eq!(decide(&facts), reason, "rule {rule}: {facts:?}");
        }
    }
}
