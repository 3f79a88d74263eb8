//! Reasons of missed sessions: real servers and clients lose their sessions in each way, and the
//! reported reason must name that way.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reprise_tests::cache::Cache;
use reprise_tests::fleet::Fleet;
use reprise_tests::haproxy_socket::set_ticket_key;
use reprise_tests::offers::CONFLICTS;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::servers::{Sessions, Tuning};
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Metrics, Server, faketime};
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];
pub(crate) const MISSES: &str = "reprise_cache_misses_total";
pub(crate) const REMOVED: &str = "reprise_sessions_removed_total";
const KEYS: &str = "reprise_ticket_key_offers_total";
pub(crate) const SERVER: (&str, &str) = ("role", "server");
pub(crate) const CLIENTS: u32 = 40;

/// Starts HAProxy for this kind of session; the tickets of a `stateful` server only name entries of
/// its cache.
pub(crate) fn haproxy_node(sessions: Sessions, stateful: bool, tuning: &Tuning<'_>) -> Server {
    let bind = format!(
        "{}{}",
        tuning.bind,
        if stateful { " no-tls-tickets" } else { "" }
    );
    Server::haproxy_tuned(
        sessions,
        &Tuning {
            bind: &bind,
            ..*tuning
        },
    )
}

/// Asserts that this number of misses has this reason, and that there is no other miss and no
/// disagreement of packets and library.
pub(crate) fn assert_reason(agent: &Agent, before: &Metrics, misses: u32, reason: &str) {
    let mut expected = Expected::default();
    expected.add(MISSES, &[SERVER, ("reason", reason)], misses);
    expected.add(MISSES, &[SERVER], misses);
    expected.add(
        "reprise_peer_cache_misses_total",
        &[SERVER, ("reason", reason)],
        misses,
    );
    expected.add(CONFLICTS, &[], 0);
    expected.assert_counted(agent, before);
}

/// Kinds of sessions that a server stores in its cache.
pub(crate) const CACHED: [(Sessions, bool); 2] =
    [(Sessions::Ids, false), (Sessions::Tickets, true)];
/// All kinds of sessions.
const ALL: [(Sessions, bool); 4] = [
    (Sessions::Ids, false),
    (Sessions::OldTickets, false),
    (Sessions::Tickets, false),
    (Sessions::Tickets, true),
];
/// Kinds of sessions that are tickets under a key.
pub(crate) const KEYED: [Sessions; 2] = [Sessions::OldTickets, Sessions::Tickets];

#[test]
fn a_cache_too_small_for_its_clients() {
    for (sessions, stateful) in CACHED {
        let tuning = Tuning {
            cache: 20,
            ..Tuning::default()
        };
        let server = haproxy_node(sessions, stateful, &tuning);
        let agent = Agent::start(["--alert-min-offers", "20"]);
        let mut fleet = Fleet::start(CLIENTS);
        fleet.connect(server.port, "");
        let before = agent.metrics();
        let missed = fleet.miss(server.port, "");
        assert_reason(&agent, &before, missed, "evicted");
        // The alert names the reason, the advice the size that the cache needs.
        poll_until("the alert is raised", DEADLINE, || {
            let alert = [("peer", "127.0.0.1"), SERVER, ("reason", "evicted")];
            match agent.metrics().get("reprise_cache_miss_alert", &alert) {
                Some(1.0) => Ok(()),
                other => Err(format!("{other:?}; stderr: {}", agent.stderr())),
            }
        });
        let peers = agent.get("/api/v1/peers").expect("the list of peers").body;
        assert!(peers.contains("the server's cache is too small"), "{peers}");
        assert!(
            agent.stderr().contains("sessions are not resumed"),
            "{}",
            agent.stderr()
        );
        assert!(
            peers.contains("with a lifetime of 300 s, 40 sessions are live at a time"),
            "{peers}"
        );
    }
}

#[test]
fn a_lifetime_shorter_than_the_clients_interval() {
    let tuning = Tuning {
        lifetime: 2,
        ..Tuning::default()
    };
    let nodes = ALL.map(|(sessions, stateful)| haproxy_node(sessions, stateful, &tuning));
    let agent = Agent::start(NO_ARGUMENTS);
    let fleets = nodes.each_ref().map(|server| {
        let mut fleet = Fleet::start(CLIENTS);
        fleet.connect(server.port, "");
        fleet
    });
    // The sessions expire meanwhile.
    sleep(Duration::from_secs(4));
    for (server, mut fleet) in nodes.iter().zip(fleets) {
        let before = agent.metrics();
        let missed = fleet.miss(server.port, "");
        if server.sessions.version() == "1.2" {
            assert_reason(&agent, &before, missed, "expired");
        } else {
            // The ticket contains its lifetime, and OpenSSL's clients offer no expired ticket.
            let mut expected = Expected::default();
            expected.add("reprise_resumption_not_offered_total", &[SERVER], missed);
            expected.add(MISSES, &[], 0).assert_counted(&agent, &before);
        }
    }
}

#[test]
fn two_nodes_with_caches_of_their_own() {
    let nodes = [(); 2].map(|()| haproxy_node(Sessions::Ids, false, &Tuning::default()));
    let agent = Agent::start(NO_ARGUMENTS);
    let mut fleet = Fleet::start(CLIENTS);
    fleet.connect(nodes[0].port, "");
    let before = agent.metrics();
    let missed = fleet.miss(nodes[1].port, "") + fleet.miss(nodes[0].port, "");
    assert_reason(&agent, &before, missed, "foreign_id");
}

#[test]
fn two_nodes_with_ticket_keys_of_their_own_then_shared() {
    let directory = TempDir::new().expect("failed to create a directory");
    let keys = directory.path().join("keys");
    fs::write(&keys, ticket_keys(0)).expect("failed to write ticket keys");
    let shared = format!("tls-ticket-keys {}", keys.display());
    for sessions in KEYED {
        let agent = Agent::start(NO_ARGUMENTS);
        let own = [(); 2].map(|()| haproxy_node(sessions, false, &Tuning::default()));
        let mut fleet = Fleet::start(CLIENTS);
        fleet.connect(own[0].port, "");
        let before = agent.metrics();
        let missed = fleet.miss(own[1].port, "");
        assert_reason(&agent, &before, missed, "foreign_key");
        // TLS 1.3 tickets are issued encrypted: a key is known once a ticket under it is accepted.
        fleet.resume(own[1].port, "");
        let before = agent.metrics();
        let missed = fleet.miss(own[0].port, "");
        assert_reason(&agent, &before, missed, "foreign_key");

        let tuning = Tuning {
            bind: &shared,
            ..Tuning::default()
        };
        let nodes = [(); 2].map(|()| haproxy_node(sessions, false, &tuning));
        let mut fleet = Fleet::start(CLIENTS);
        fleet.connect(nodes[0].port, "");
        let before = agent.metrics();
        let resumed = fleet.resume(nodes[1].port, "");
        // `printf HAPROXY-STEK-000 | sha256sum`: the same on every node.
        let key = [("key", "00620eac"), ("outcome", "accepted")];
        let mut expected = Expected::default();
        expected.add(MISSES, &[], 0).add(KEYS, &key, resumed);
        expected
            .add(KEYS, &[], resumed)
            .assert_counted(&agent, &before);
    }
}

/// Three keys of 48 bytes for HAProxy, which encrypts under the second last; each begins with its
/// name.
pub(crate) fn ticket_keys(first: u8) -> String {
    (first..first + 3)
        .map(|number| {
            // Names end in the key's number; the second of the first three is 000.
            let name = format!("HAPROXY-STEK-{:03}", (number + 99) % 100);
            let mut key = name.into_bytes();
            key.resize(48, number);
            BASE64_STANDARD.encode(key) + "\n"
        })
        .collect()
}

/// HAProxy whose ticket keys can be rotated while it runs.
pub(crate) struct RotatingNode {
    pub(crate) server: Server,
    socket: PathBuf,
    _directory: TempDir,
}

impl RotatingNode {
    pub(crate) fn start(sessions: Sessions) -> Self {
        let directory = TempDir::new().expect("failed to create a directory");
        let [keys, socket] = ["keys", "socket"].map(|name| directory.path().join(name));
        fs::write(&keys, ticket_keys(0)).expect("failed to write ticket keys");
        let bind = format!("tls-ticket-keys {}", keys.display());
        let defaults = format!("global\n  stats socket {} level admin\n", socket.display());
        let tuning = Tuning {
            bind: &bind,
            defaults: &defaults,
            ..Tuning::default()
        };
        Self {
            server: haproxy_node(sessions, false, &tuning),
            socket,
            _directory: directory,
        }
    }

    /// Replaces all keys.
    pub(crate) fn rotate(&self) {
        for key in ticket_keys(10).lines() {
            set_ticket_key(&self.socket, "#0", key);
        }
    }
}

#[test]
fn a_key_replaced_by_a_restart() {
    for sessions in KEYED {
        let directory = TempDir::new().expect("failed to create a directory");
        let keys = directory.path().join("keys");
        let bind = format!("tls-ticket-keys {}", keys.display());
        fs::write(&keys, ticket_keys(0)).expect("failed to write ticket keys");
        let tuning = Tuning {
            bind: &bind,
            ..Tuning::default()
        };
        let server = haproxy_node(sessions, false, &tuning);
        let agent = Agent::start(NO_ARGUMENTS);
        let mut fleet = Fleet::start(CLIENTS);
        fleet.connect(server.port, "");
        fleet.resume(server.port, "");
        let port = server.port;
        drop(server);
        fs::write(&keys, ticket_keys(10)).expect("failed to write ticket keys");
        let server = haproxy_node(
            sessions,
            false,
            &Tuning {
                port: Some(port),
                ..tuning
            },
        );
        let before = agent.metrics();
        let missed = fleet.miss(server.port, "");
        assert_reason(&agent, &before, missed, "restarted");
    }
}

#[test]
fn clients_that_reset_their_connections() {
    let agent = Agent::start(NO_ARGUMENTS);
    for (sessions, stateful) in CACHED {
        let server = haproxy_node(sessions, stateful, &Tuning::default());
        let mut fleet = Fleet::start(CLIENTS);
        // The first round shows that the server's tickets name entries of its cache.
        fleet.connect(server.port, "");
        fleet.resume(server.port, "");
        let before = agent.metrics();
        fleet.connect(server.port, "reset");
        let mut expected = Expected::default();
        expected.add(REMOVED, &[("cause", "unclean_close_by_peer")], CLIENTS);
        expected
            .add(REMOVED, &[], CLIENTS)
            .assert_counted(&agent, &before);
        let missed = fleet.miss(server.port, "");
        assert_reason(&agent, &before, missed, "removed");
    }
}

#[test]
fn sessions_of_a_version_or_cipher_that_the_server_no_longer_supports() {
    let directory = TempDir::new().expect("failed to create a directory");
    let keys = directory.path().join("keys");
    fs::write(&keys, ticket_keys(0)).expect("failed to write ticket keys");
    let bind = format!("tls-ticket-keys {}", keys.display());
    let agent = Agent::start(NO_ARGUMENTS);
    for (before, after) in [
        ("ssl-max-ver TLSv1.2", "ssl-min-ver TLSv1.3"),
        (
            "ciphersuites TLS_AES_256_GCM_SHA384",
            "ciphersuites TLS_AES_128_GCM_SHA256",
        ),
    ] {
        let tuning = Tuning {
            versions: Some(before),
            bind: &bind,
            ..Tuning::default()
        };
        let server = Server::haproxy_tuned(Sessions::Tickets, &tuning);
        let port = server.port;
        let mut fleet = Fleet::start(CLIENTS);
        fleet.connect(port, "");
        fleet.resume(port, "");
        drop(server);
        let tuning = Tuning {
            versions: Some(after),
            port: Some(port),
            ..tuning
        };
        let _server = Server::haproxy_tuned(Sessions::Tickets, &tuning);
        let before = agent.metrics();
        let missed = fleet.miss(port, "");
        assert_reason(&agent, &before, missed, "refused");
    }
}

/// Apache binds each session to its virtual host: OpenSSL finds the session and rejects it for its
/// session ID context.
#[test]
fn sessions_of_another_name() {
    let agent = Agent::start(NO_ARGUMENTS);
    for sessions in [Sessions::Ids, Sessions::OldTickets, Sessions::Tickets] {
        let names = ["localhost", "elsewhere.example"];
        let server = Server::apache_hosting(sessions, &names);
        let mut fleet = Fleet::start(CLIENTS);
        let [one, other] = names.map(|name| format!("sni={name}"));
        fleet.connect(server.port, &one);
        fleet.resume(server.port, &one);
        let before = agent.metrics();
        let missed = fleet.miss(server.port, &other);
        assert_reason(&agent, &before, missed, "refused");
    }
}

#[test]
fn a_cache_shared_by_two_nodes_that_stops() {
    let cache = Cache::redis();
    let nodes = [(); 2].map(|()| Server::apache_sharing(Sessions::Ids, &cache, 300));
    let agent = Agent::start(NO_ARGUMENTS);
    let mut fleet = Fleet::start(CLIENTS);
    let before = agent.metrics();
    fleet.connect(nodes[0].port, "");
    let resumed = fleet.resume(nodes[1].port, "") + fleet.resume(nodes[0].port, "");
    let mut expected = Expected::default();
    expected.add(MISSES, &[], 0);
    expected.add(
        "reprise_handshakes_total",
        &[SERVER, ("resumption", "resumed")],
        resumed,
    );
    expected.assert_counted(&agent, &before);
    drop(cache);
    // The nodes still run, and too few sessions were issued for a cache to be full.
    let missed = fleet.miss(nodes[1].port, "");
    assert_reason(&agent, &before, missed, "unknown");
}

#[test]
fn clients_that_never_offer() {
    let server = haproxy_node(Sessions::Tickets, false, &Tuning::default());
    let agent = Agent::start(NO_ARGUMENTS);
    let mut fleet = Fleet::start(CLIENTS);
    let before = agent.metrics();
    fleet.connect(server.port, "forget");
    let mut expected = Expected::default();
    expected.add("reprise_resumption_not_offered_total", &[SERVER], CLIENTS);
    expected.add(MISSES, &[], 0).assert_counted(&agent, &before);
    poll_until("the log has the advice", DEADLINE, || {
        let log = agent.stderr();
        if log.contains("the clients never offer a session") {
            Ok(())
        } else {
            Err(log)
        }
    });
}

#[test]
fn a_node_whose_clock_is_two_hours_ahead() {
    let directory = TempDir::new().expect("failed to create a directory");
    let keys = directory.path().join("keys");
    fs::write(&keys, ticket_keys(0)).expect("failed to write ticket keys");
    let bind = format!("tls-ticket-keys {}", keys.display());
    let right = Tuning {
        bind: &bind,
        ..Tuning::default()
    };
    let clock = faketime::under("+2h");
    let ahead = Tuning {
        under: &clock.each_ref().map(String::as_str),
        ..right
    };
    for sessions in KEYED {
        let nodes = [right, ahead].map(|tuning| haproxy_node(sessions, false, &tuning));
        let agent = Agent::start(NO_ARGUMENTS);
        let mut fleet = Fleet::start(CLIENTS);
        fleet.connect(nodes[0].port, "");
        let before = agent.metrics();
        let missed = fleet.miss(nodes[1].port, "");
        assert_reason(&agent, &before, missed, "clock");
        poll_until("the advice names the clock", DEADLINE, || {
            let peers = agent.get("/api/v1/peers")?.body;
            if peers.contains("the server's clock is 7200 s ahead of this host's")
                || peers.contains("the server's clock is 7199 s ahead of this host's")
            {
                Ok(())
            } else {
                Err(peers)
            }
        });
    }
}
