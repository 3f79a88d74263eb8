//! What to do about missed sessions, in words: for log lines and pages. Pure.

use std::fmt::Write as _;

use crate::model::{Miss, MissReason as Reason, Role, ServiceFacts};
use crate::pipeline::{
    Pipeline,
    clock::Clock,
    stats::{PeerKey, PeerStats, Topic},
};

/// Clocks that differ by less than this are equal, nanoseconds.
const SKEW_NS: u64 = 5_000_000_000;

/// Reason and remedy of the alert that stands for a peer; `None` where none stands.
#[must_use]
pub fn advice(pipeline: &Pipeline, key: &PeerKey, sums: &PeerStats) -> Option<String> {
    let topic = sums.alert?;
    let last = sums.offers.last_miss;
    let miss = last.map(|(miss, _)| miss);
    let service = miss.and_then(|miss| Some(pipeline.service(miss.service?)));
    Some(text(&Case {
        topic,
        role: key.role,
        miss,
        ticket_key: last.and_then(|(_, key)| key),
        service: service.unwrap_or_default(),
        clock: pipeline.clock,
    }))
}

/// All that the words depend on.
#[derive(Debug, Clone, Copy)]
struct Case {
    topic: Topic,
    role: Role,
    miss: Option<Miss>,
    ticket_key: Option<u32>,
    service: ServiceFacts,
    clock: Clock,
}

fn text(case: &Case) -> String {
    let reason = match case.topic {
        Topic::Missed(reason) => reason,
        Topic::NeverOffered => return never_offered(case.role).to_owned(),
    };
    let mut text = String::new();
    let lifetime_ns = case.miss.and_then(|miss| miss.lifetime_ns);
    let lifetime = lifetime_ns.or(case.service.lifetime_ns).map(seconds);
    match reason {
        Reason::Evicted => {
            text.push_str("the server's cache is too small: sessions are gone before their lifetime ends");
            if let Some(lifetime) = &lifetime {
                let _ = write!(
                    text,
                    "; within one lifetime of {lifetime} it gave {} sessions, and the cache must hold as many",
                    case.service.sessions
                );
            }
            text.push_str(
                " (HAProxy tune.ssl.cachesize, nginx ssl_session_cache, Apache SSLSessionCache), or issue tickets",
            );
        }
        Reason::NotStored => text.push_str(
            "the server issues sessions that it does not store: enable its session cache in the default server block (nginx ssl_session_cache, HAProxy tune.ssl.cachesize, Apache SSLSessionCache), give the application a session store, or issue tickets",
        ),
        Reason::OtherProcess => text.push_str(
            "another live process of the service issued the sessions: processes have session caches or ticket keys of their own; share the cache or the ticket keys between them",
        ),
        Reason::Restarted => text.push_str(
            "the process that issued the sessions has ended, and its session cache or ticket keys with it: load the ticket keys from a file, or use a cache that survives a restart",
        ),
        Reason::Clock => text.push_str(
            "the server's clock was stepped after it issued the sessions: keep the clock synchronised, and start the server once it is",
        ),
        Reason::Expired => expired(case, lifetime.as_deref(), &mut text),
        Reason::ForeignKey => {
            text.push_str("the tickets are encrypted under a key that this server has never used");
            name_key(case, &mut text);
            text.push_str(
                ": another node gave them, or the server was restarted; give all nodes the same ticket keys (HAProxy tls-ticket-keys, nginx ssl_session_ticket_key, Apache SSLSessionTicketKeyFile)",
            );
        }
        Reason::RetiredKey => {
            text.push_str("the tickets are encrypted under a key that this server no longer accepts");
            name_key(case, &mut text);
            text.push_str("; keep retired ticket keys for decryption as long as tickets live, and let a restart not replace them");
        }
        Reason::ForeignId => text.push_str(
            "the session IDs were given elsewhere: another node answers these clients in turn; share the cache between nodes, send a client to one node, or use tickets with shared keys",
        ),
        Reason::Removed => text.push_str(
            "the sessions were dropped from the cache since their connections ended without close_notify (reset, or closed in haste); let clients shut TLS down before they close, or use tickets",
        ),
        Reason::Refused => text.push_str(
            "the server knows the sessions and turns them down: another server name, version, cipher or session ID context; give virtual hosts that share clients one session ID context, and the same versions",
        ),
        Reason::Unknown => text.push_str("there is not enough evidence for a reason yet"),
    }
    text
}

fn expired(case: &Case, lifetime: Option<&str>, text: &mut String) {
    text.push_str("sessions are offered after their lifetime");
    if let Some(lifetime) = lifetime {
        let _ = write!(text, " of {lifetime}");
    }
    if let Some(age) = case.miss.and_then(|miss| miss.age_ns) {
        let _ = write!(text, "; the last one was {} old", seconds(age));
    }
    text.push_str(
        ": raise it beyond the clients' reconnect interval (HAProxy tune.ssl.lifetime, nginx ssl_session_timeout, Apache SSLSessionCacheTimeout, SSL_CTX_set_timeout)",
    );
    // Clocks make sessions die early, too.
    if let Some(skew) = case.service.skew_ns
        && skew.unsigned_abs() >= SKEW_NS
    {
        let way = if skew > 0 { "ahead of" } else { "behind" };
        let by = seconds(skew.unsigned_abs());
        let _ = write!(text, "; the server's clock is {by} {way} this host's");
    }
    if let Some((step, _)) = case.clock.last_step {
        let way = if step > 0 { "forward" } else { "back" };
        let by = seconds(step.unsigned_abs());
        let _ = write!(text, "; this host's clock was stepped {way} by {by}");
    }
    if case.clock.synchronized() == Some(false) {
        text.push_str("; this host's clock is not synchronised");
    }
}

const fn never_offered(role: Role) -> &'static str {
    match role {
        Role::Server => {
            "the clients never offer a session: they keep none between connections, or get none (tickets and cache both off; TLS 1.3 clients that never read)"
        }
        Role::Client => {
            "the client never offers a session to this server: let it keep sessions between connections, and check that the server gives any"
        }
    }
}

fn name_key(case: &Case, text: &mut String) {
    if let Some(key) = case.ticket_key {
        let _ = write!(text, " (key {key:08x})");
    }
}

/// Whole seconds, or milliseconds where that says more.
fn seconds(ns: u64) -> String {
    match ns / 1_000_000_000 {
        0 => format!("{} ms", ns / 1_000_000),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Evidence;
    use crate::pipeline::clock::ClockEvent;
    use zerocopy::FromZeros as _;

    const SECOND: u64 = 1_000_000_000;

    fn case(reason: Reason) -> Case {
        Case {
            topic: Topic::Missed(reason),
            role: Role::Server,
            miss: Some(Miss {
                reason,
                evidence: Evidence::default(),
                age_ns: Some(900 * SECOND),
                lifetime_ns: Some(300 * SECOND),
                service: None,
                lossy: false,
            }),
            ticket_key: Some(0xdead_beef),
            service: ServiceFacts {
                sessions: 50_000,
                lifetime_ns: Some(300 * SECOND),
                skew_ns: None,
                ..ServiceFacts::default()
            },
            clock: Clock::default(),
        }
    }

    #[test]
    fn figures_are_in_the_words() {
        let evicted = text(&case(Reason::Evicted));
        assert!(
            evicted.contains("300 s it gave 50000 sessions"),
            "{evicted}"
        );
        let expired = text(&case(Reason::Expired));
        assert!(
            expired.contains("lifetime of 300 s; the last one was 900 s old"),
            "{expired}"
        );
        assert!(!expired.contains("clock"), "{expired}");
        let foreign = text(&case(Reason::ForeignKey));
        assert!(foreign.contains("key deadbeef"), "{foreign}");
    }

    #[test]
    fn clocks_are_named_where_sessions_die_early() {
        let mut clock = Clock::default();
        let mut event = ClockEvent::new_zeroed();
        clock.record(&event);
        event.offset_ns = -60_000_000_000;
        clock.record(&event);
        let mut case = case(Reason::Expired);
        case.clock = clock;
        case.service.skew_ns = Some(7_200_000_000_000);
        let expired = text(&case);
        for words in [
            "server's clock is 7200 s ahead of",
            "stepped back by 60 s",
            "not synchronised",
        ] {
            assert!(expired.contains(words), "{words}: {expired}");
        }
    }

    #[test]
    fn every_topic_has_words() {
        for reason in Reason::ALL {
            assert!(text(&case(reason)).len() > 20, "{reason:?}");
        }
        let never = Case {
            topic: Topic::NeverOffered,
            ..case(Reason::Unknown)
        };
        assert!(text(&never).contains("never offer"));
    }
}
