//! Facts that the rules depend on.

use super::process::Relation;
use crate::model::{Lookup, Removal};

/// Rank from which a cache can be full even if no session was ever accepted.
pub(super) const FULL_RANK: u64 = 32;
/// Clocks differ where two ages of one session differ by more than this, nanoseconds.
pub(super) const CLOCK_NS: i64 = 5_000_000_000;

/// Highest rank at which a cache that accepted a session at rank `accepted` may still hold one.
pub(super) const fn beyond(accepted: u64) -> u64 {
    accepted.saturating_add(accepted / 2)
}

/// Observed age of the session against its lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Not known, or so close to the lifetime that rounding decides.
    Unknown,
    Within,
    Over,
}

/// Issuer of the offered session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Issuer {
    /// The issuer was not observed, or it is another port of the same process.
    Unknown,
    /// Another service on this host, with processes of its own and no cache in common.
    OtherService,
    /// The service that missed it; the process is not known.
    ThisService,
    /// The service that missed it.
    Process(Relation),
}

/// Whether the service stores sessions of the offered kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Unknown,
    /// It missed its own sessions at ranks below any cache's capacity.
    Never,
    /// It accepted this number of sessions, up to this rank.
    Accepted {
        count: u64,
        max_rank: u64,
        /// It has missed a session at a rank below any cache's capacity since.
        missed_low: bool,
    },
}

/// Key of the offered ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TicketKey {
    /// The service's tickets do not begin with a key name.
    Unnamed,
    /// Nothing on this host was seen to use it.
    Unseen,
    /// Unseen, but TLS 1.3 sessions of the client can only be from the processes with this
    /// relation.
    Inferred(KeyOwner),
    /// Seen, and used by this owner last.
    Owned(KeyOwner),
}

/// Owner of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyOwner {
    /// The process that missed the ticket used it.
    Own {
        /// The whole service uses a newer key.
        replaced: bool,
        /// The answer contains a ticket under this key.
        current: bool,
    },
    /// The service used it for one connection, as it uses nearly every key.
    OneConnection,
    /// Only other processes of the service used it.
    Process(Relation),
    /// Processes that are not known used it for the service.
    ThisService,
    /// Another service on this host used it, and this one never did.
    OtherService,
}

/// What was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// Name of a cache entry: a session ID, or a PSK identity that is one.
    Entry,
    /// A ticket.
    Ticket(TicketKey),
}

/// All facts that the rules depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RuleInput {
    pub(super) lookup: Lookup,
    /// Whether the server considers such an offer in the version agreed on.
    pub(super) considered: bool,
    pub(super) offered: Offered,
    pub(super) issuer: Issuer,
    /// The process that missed the session served its first handshake after the issuer had ended.
    pub(super) succeeded_issuer: bool,
    pub(super) age: Age,
    /// Observed age, nanoseconds.
    pub(super) observed_age_ns: Option<u64>,
    /// By the host's clock, from which the server's differs, the session is within its lifetime.
    pub(super) within_by_host_clock: bool,
    /// By the server's clock, which was stepped since it issued the session, the session is past
    /// its lifetime.
    pub(super) expired_by_step: bool,
    pub(super) removed: Option<Removal>,
    pub(super) used_up: bool,
    pub(super) stored: Stored,
    /// Processes of the service share one cache.
    pub(super) shared: bool,
    /// That cache was seen to survive the end of a process.
    pub(super) survives: bool,
    /// The service's ticket keys were seen to survive the end of a process.
    pub(super) keys_survive: bool,
    pub(super) rank: Option<u64>,
    /// Lowest rank, of those at which a cache can be full, at which an issuer missed a session of
    /// its own; an acceptance at this or a higher rank resets it.
    pub(super) own_miss_rank: Option<u64>,
    /// The process that issued and missed the session emptied its cache after the last use.
    pub(super) emptied: bool,
    /// Every key of the service would be known by now.
    pub(super) keys_are_known: bool,
}

impl RuleInput {
    pub(super) const fn library_age(&self) -> Option<i64> {
        match self.lookup {
            Lookup::Rejected { age_ns, .. } => age_ns,
            _ => None,
        }
    }

    /// Whether the session that the library found is past its lifetime by the server's clock.
    pub(super) fn library_says_expired(&self) -> Option<bool> {
        let Lookup::Rejected {
            age_ns,
            lifetime_ns,
        } = self.lookup
        else {
            return None;
        };
        Some(u64::try_from(age_ns?).unwrap_or(0) >= lifetime_ns)
    }

    pub(super) fn ages_differ(&self) -> bool {
        let observed = self.observed_age_ns.and_then(|age| i64::try_from(age).ok());
        let ages = self.library_age().zip(observed);
        ages.is_some_and(|(library, observed)| library.saturating_sub(observed) > CLOCK_NS)
    }

    /// Whether the sessions that were issued since fit into the cache: fewer than fill any cache,
    /// or at most one and a half times as many as at an acceptance.
    pub(super) fn fits_cache(&self) -> bool {
        let accepted = match self.stored {
            Stored::Accepted { max_rank, .. } => max_rank,
            _ => 0,
        };
        self.rank
            .is_some_and(|rank| rank < FULL_RANK || rank <= beyond(accepted))
    }

    /// Whether issuers have missed sessions of their own at this rank, so that the cache may have
    /// evicted it.
    pub(super) fn may_be_evicted(&self) -> bool {
        let ranks = self.own_miss_rank.zip(self.rank);
        ranks.is_some_and(|(missed, rank)| rank >= missed)
    }

    pub(super) fn is_entry(&self) -> bool {
        self.offered == Offered::Entry
    }

    /// Whether the offer is the name of an entry in a cache that the process which missed it can
    /// read.
    pub(super) fn is_entry_of_reachable_cache(&self) -> bool {
        self.is_entry()
            && self.lookup == Lookup::NotFound
            && match self.issuer {
                Issuer::Process(Relation::Same) => true,
                Issuer::Process(Relation::Ended) => self.shared && self.survives,
                Issuer::Process(_) => self.shared,
                _ => false,
            }
    }

    pub(super) const fn ticket_key(&self) -> Option<TicketKey> {
        match self.offered {
            Offered::Ticket(key) => Some(key),
            Offered::Entry => None,
        }
    }

    pub(super) fn key_owner(&self) -> Option<KeyOwner> {
        match self.ticket_key()? {
            TicketKey::Owned(owner) | TicketKey::Inferred(owner) => Some(owner),
            TicketKey::Unnamed | TicketKey::Unseen => None,
        }
    }
}
