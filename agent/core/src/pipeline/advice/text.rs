//! Texts of advice.

use std::fmt::Write as _;

use crate::{
    model::{KeyName, Miss, MissReason, Removal, Role, ServiceFacts},
    pipeline::{
        clock::Clock,
        stats::{AlertReason, FailedOffers, Given, Outcomes},
    },
};

/// Clocks that differ by less than this count as equal, nanoseconds.
const MAX_SKEW_NS: u64 = 5_000_000_000;

/// Facts that the text depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) reason: AlertReason,
    pub(super) role: Role,
    /// The newest miss with this reason; `None` if it was evicted.
    pub(super) miss: Option<Miss>,
    pub(super) ticket_key: Option<KeyName>,
    /// Offers of all mechanisms.
    pub(super) offers: Outcomes,
    pub(super) failed_offers: FailedOffers,
    /// Whether those are of all clients of the server, not of this peer alone.
    pub(super) failed_offers_of_server: bool,
    /// Handshakes without an offer after the client's address was given a session.
    pub(super) returned_without: u64,
    /// What the server had given clients that returned without an offer.
    pub(super) given_before: Option<Given>,
    pub(super) service: ServiceFacts,
    pub(super) clock: Clock,
}

/// Cause and remedy in one sentence.
pub(super) fn text(case: &Case) -> String {
    match case.reason {
        AlertReason::NeverOffered => never_offered(case.role, case.given_before).to_owned(),
        AlertReason::FailedOffers => failed_offers(case),
        AlertReason::SeldomOffered => seldom_offered(case),
        AlertReason::Missed(reason) => missed(case, reason),
    }
}

fn missed(case: &Case, reason: MissReason) -> String {
    let by_key = matches!(
        reason,
        MissReason::OtherProcess | MissReason::ForeignKey | MissReason::RetiredKey
    );
    if by_key && case.service.per_connection_keys {
        return PER_CONNECTION_KEYS.to_owned();
    }
    match reason {
        MissReason::Evicted => return evicted(case),
        MissReason::Expired => return expired(case),
        MissReason::Clock => return clock(case),
        MissReason::ForeignKey => return foreign_key(case),
        MissReason::RetiredKey => return retired_key(case),
        MissReason::Removed => return removed(case).to_owned(),
        MissReason::NotStored => {
            "the server issues sessions that it does not store: enable its session cache in the \
             default server block (nginx ssl_session_cache, HAProxy tune.ssl.cachesize, Apache \
             SSLSessionCache), give the application a session store, or issue tickets"
        }
        MissReason::OtherProcess => {
            "another live process of the service issued the sessions: share the session cache or \
             the ticket keys between all processes"
        }
        MissReason::Restarted => {
            "the process that issued the sessions has ended, and its session cache or ticket keys \
             with it: load the ticket keys from a file, or use a cache that survives a restart"
        }
        MissReason::ForeignId => {
            "another node issued the session IDs: share the cache between nodes, route each client \
             to one node, or use tickets with shared keys"
        }
        MissReason::Refused => {
            "the server found the sessions and rejected them for their server name, version, \
             cipher or session ID context: give virtual hosts that share clients the same session \
             ID context and the same versions"
        }
        MissReason::Unknown if case.role == Role::Client => return unknown_to_client(case),
        MissReason::Unknown => "the evidence is not sufficient for a reason yet",
    }
    .to_owned()
}

const PER_CONNECTION_KEYS: &str = "the server creates a new TLS context, and with it a new ticket \
                                   key, for nearly every connection: let it share one context \
                                   between all connections";

fn unknown_to_client(case: &Case) -> String {
    let Outcomes {
        accepted, missed, ..
    } = case.offers;
    let of = format!(
        "the server missed {missed} of {} sessions that this client offered",
        accepted + missed
    );
    let is_here = case.miss.is_some_and(|miss| miss.service.is_some());
    if is_here {
        format!(
            "{of}; the server is on this host, and the evidence is not sufficient for a reason yet"
        )
    } else {
        format!("{of}, and only the server's host shows why: observe it there")
    }
}

fn evicted(case: &Case) -> String {
    let size = lifetime(case).map_or_else(
        || "sessions are evicted before their lifetime ends".to_owned(),
        |lifetime| {
            let sessions = case.service.sessions;
            format!("with a lifetime of {lifetime}, {sessions} sessions are live at a time")
        },
    );
    format!(
        "the server's cache is too small: {size}, and the cache must hold all of them (HAProxy \
         tune.ssl.cachesize, nginx ssl_session_cache, Apache SSLSessionCache), or the server must \
         issue tickets"
    )
}

fn expired(case: &Case) -> String {
    let mut text = "sessions are offered after their lifetime".to_owned();
    if let Some(lifetime) = lifetime(case) {
        let _ = write!(text, " of {lifetime}");
    }
    if let Some(age) = case.miss.and_then(|miss| miss.age_ns) {
        let _ = write!(text, "; the last one was {} old", seconds(age));
    }
    text.push_str(
        ": raise the lifetime above the clients' reconnect interval (HAProxy tune.ssl.lifetime, \
         nginx ssl_session_timeout, Apache SSLSessionCacheTimeout, SSL_CTX_set_timeout)",
    );
    // A wrong clock makes sessions expire early, too.
    add_clock_notes(case, &mut text);
    text
}

fn clock(case: &Case) -> String {
    let step_ns = case.miss.and_then(|miss| miss.evidence.clock_step_ns);
    let cause = step_ns.map_or_else(
        || "differs from the clock by which the sessions were issued".to_owned(),
        |step_ns| format!("was stepped {} after it issued the sessions", step(step_ns)),
    );
    let mut text = format!(
        "the server's clock {cause}: keep the clocks of all nodes synchronised, and start servers \
         after the first synchronisation"
    );
    add_clock_notes(case, &mut text);
    text
}

/// Adds what is known about the clocks of the server and of this host.
fn add_clock_notes(case: &Case, text: &mut String) {
    if let Some(skew) = case.service.skew_ns
        && skew.unsigned_abs() >= MAX_SKEW_NS
    {
        let direction = if skew > 0 { "ahead of" } else { "behind" };
        let amount = seconds(skew.unsigned_abs());
        let _ = write!(
            text,
            "; the server's clock is {amount} {direction} this host's"
        );
    }
    if let Some((step_ns, _)) = case.clock.last_step {
        let _ = write!(text, "; this host's clock was stepped {}", step(step_ns));
    }
    if case.clock.synchronized() == Some(false) {
        text.push_str("; this host's clock is not synchronised");
    }
}

fn step(step_ns: i64) -> String {
    let direction = if step_ns > 0 { "forward" } else { "back" };
    format!("{direction} by {}", seconds(step_ns.unsigned_abs()))
}

fn foreign_key(case: &Case) -> String {
    format!(
        "the tickets are encrypted under a key that this server has never used{}: give all nodes \
         the same ticket keys, and keep them over restarts (HAProxy tls-ticket-keys, nginx \
         ssl_session_ticket_key, Apache SSLSessionTicketKeyFile)",
        ticket_key(case)
    )
}

fn retired_key(case: &Case) -> String {
    format!(
        "the tickets are encrypted under a key that this server no longer accepts{}: keep retired \
         ticket keys for decryption for the lifetime of a ticket, and over restarts",
        ticket_key(case)
    )
}

fn removed(case: &Case) -> &'static str {
    let rule = case.miss.map(|miss| miss.evidence.rule);
    if rule == Some("cache_emptied") {
        return "the server emptied its session cache while it ran, as a reload of its \
                configuration does: use a cache that survives a reload, or tickets with keys from \
                a file";
    }
    match case.miss.and_then(|miss| miss.evidence.removal) {
        Some(Removal::UncleanCloseByServer) => {
            "the server removed the sessions because it closed their connections without sending \
             close_notify: let the server call SSL_shutdown before it frees a connection, or use \
             tickets"
        }
        Some(Removal::UncleanCloseByPeer) => {
            "the server removed the sessions because the client reset their connections or closed \
             them without sending close_notify, or lost packets ended them: let clients send \
             close_notify before they close, or use tickets"
        }
        Some(Removal::Application) => {
            "the application removed the sessions from the cache: check where it calls \
             SSL_CTX_remove_session, or use tickets"
        }
        Some(Removal::Expired | Removal::Unknown) | None => {
            "the server removed the sessions from its cache before their lifetime ended, as it \
             does when a connection ends without close_notify: let both sides send close_notify, \
             or use tickets"
        }
    }
}

const fn never_offered(role: Role, given_before: Option<Given>) -> &'static str {
    match (role, given_before) {
        (Role::Server, Some(Given::Nothing)) => {
            "the clients never offer a session because the server gives none: enable session \
             tickets or a session cache"
        }
        (Role::Server, _) => {
            "the clients never offer a session although they were given one before: let them store \
             sessions between connections, and read the tickets of TLS 1.3"
        }
        (Role::Client, Some(Given::Nothing)) => {
            "the client never offers a session because the server gives none: enable session \
             tickets or a session cache on the server"
        }
        (Role::Client, _) => {
            "the client never offers a session although it was given one before: let it store \
             sessions between connections, and read the tickets of TLS 1.3"
        }
    }
}

fn seldom_offered(case: &Case) -> String {
    let Outcomes {
        accepted, missed, ..
    } = case.offers;
    let returned = case.returned_without + accepted + missed;
    format!(
        "the sessions that are offered are resumed, but {} of {returned} connections offered none \
         although one was given to the same address before: a client that opens several \
         connections at once needs a session for each, and uses a ticket of TLS 1.3 only once: let \
         it store several, or keep connections open (several clients behind one address look the \
         same)",
        case.returned_without
    )
}

fn failed_offers(case: &Case) -> String {
    let offers = &case.failed_offers;
    let clients = match case.failed_offers_of_server {
        true => "of all clients of this server, ",
        false => "",
    };
    format!(
        "handshakes fail because a session is offered: {clients}{} of {} failed with an offer, and \
         {} of {} without one: see their causes and alerts in the list of failures, and compare \
         what the server requires of a client that resumes a session with what it requires of \
         others, such as a client certificate",
        offers.failed,
        offers.with(),
        offers.failed_without,
        offers.without()
    )
}

fn ticket_key(case: &Case) -> String {
    case.ticket_key
        .map_or_else(String::new, |key| format!(" (key {:08x})", key.get()))
}

fn lifetime(case: &Case) -> Option<String> {
    let of_miss = case.miss.and_then(|miss| miss.lifetime_ns);
    of_miss.or(case.service.lifetime_ns).map(seconds)
}

/// Whole seconds, or milliseconds below one second.
fn seconds(ns: u64) -> String {
    match ns / 1_000_000_000 {
        0 => format!("{} ms", ns / 1_000_000),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests;
