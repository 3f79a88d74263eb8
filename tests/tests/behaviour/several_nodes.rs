//! The recipes of `docs/several-nodes.md`: two nodes, what clients miss there without the recipe,
//! and that they miss nothing with it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use reprise_tests::cache::Cache;
use reprise_tests::fleet::Fleet;
use reprise_tests::manifests::typed;
use reprise_tests::ports::free_port;
use reprise_tests::process::Process;
use reprise_tests::servers::{Sessions, Tuning};
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Server};
use tempfile::TempDir;

use crate::docs::{blocks, doc};
use crate::misses::{MISSES, SERVER, assert_reason, haproxy_node};

const NO_ARGUMENTS: [&str; 0] = [];
const PAGE: &str = "several-nodes.md";
/// An odd number: two nodes in turn get each client's connections in turn.
const CLIENTS: u32 = 41;
/// Network of the clients' addresses.
const SOURCES: &str = "127.9.7";
const HANDSHAKES: &str = "reprise_handshakes_total";

/// A load balancer that relays TCP connections to two nodes; killed when dropped.
struct Balancer {
    port: u16,
    _process: Process,
    _directory: TempDir,
}

impl Balancer {
    /// Starts the program with a configuration of the page, for these nodes instead of those of the
    /// page.
    fn start(program: &str, config: &str, nodes: &[Server; 2]) -> Self {
        let (port, directory) = (
            free_port(),
            TempDir::new().expect("failed to create a directory"),
        );
        let [one, two] = nodes
            .each_ref()
            .map(|node| format!("127.0.0.1:{}", node.port));
        let config = config
            .replace("192.0.2.11:443", &one)
            .replace("192.0.2.12:443", &two)
            .replace("bind :443", &format!("bind 127.0.0.1:{port}"))
            .replace("listen 443", &format!("listen 127.0.0.1:{port}"));
        let file = directory.path().join("config");
        let mut command = Command::new(program);
        match program {
            "haproxy" => command.arg("-db").arg("-f").arg(&file),
            _ => command
                .arg("-c")
                .arg(&file)
                .arg("-e")
                .arg(directory.path().join("log")),
        };
        let config = match program {
            "haproxy" => config,
            _ => nginx_main(&config, directory.path()),
        };
        fs::write(&file, config).expect("failed to write a configuration");
        let mut process = Process::spawn(&mut command);
        process.wait_listening(port);
        Self {
            port,
            _process: process,
            _directory: directory,
        }
    }
}

/// Adds what the page leaves to the rest of nginx's configuration. One worker takes the nodes
/// strictly in turn.
fn nginx_main(stream: &str, directory: &Path) -> String {
    format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nuser root;\n\
         worker_processes 1;\npid {}/pid;\nevents {{ worker_connections 256; }}\n{stream}",
        directory.display()
    )
}

/// The nodes of a service, which share nothing.
fn nodes(sessions: Sessions) -> [Server; 2] {
    [(); 2].map(|()| haproxy_node(sessions, false, &Tuning::default()))
}

/// Connects each client twice by way of a load balancer without the recipe and asserts that they
/// miss their sessions for `reason`, then with it, and asserts that they miss none.
fn assert_recipe(program: &str, without: &str, recipe: &str) {
    for (sessions, reason) in [
        (Sessions::Ids, "foreign_id"),
        (Sessions::OldTickets, "foreign_key"),
        // All clients have the load balancer's address. Nothing shows which node gave one its
        // ticket of TLS 1.3 until a node accepts a ticket under this key.
        (Sessions::Tickets, "unknown"),
    ] {
        let nodes = nodes(sessions);
        let agent = Agent::start(NO_ARGUMENTS);
        let balancer = Balancer::start(program, without, &nodes);
        let mut fleet = Fleet::start_with_addresses(&[], SOURCES, CLIENTS);
        fleet.connect(balancer.port, "");
        let before = agent.metrics();
        let missed = fleet.miss(balancer.port, "");
        assert_reason(&agent, &before, missed, reason);

        let balancer = Balancer::start(program, recipe, &nodes);
        let mut fleet = Fleet::start_with_addresses(&[], SOURCES, CLIENTS);
        let before = agent.metrics();
        let full = fleet.connect(balancer.port, "").connected;
        let resumed = fleet.resume(balancer.port, "") + fleet.resume(balancer.port, "");
        let mut expected = Expected::default();
        expected.add(MISSES, &[], 0);
        for (resumption, count) in [("full", full), ("resumed", resumed)] {
            expected.add(HANDSHAKES, &[SERVER, ("resumption", resumption)], count);
        }
        expected.assert_counted(&agent, &before);
        assert_both_serve(&agent, &nodes);
    }
}

/// Asserts that both nodes have resumed handshakes: one of two nodes would resume everything.
fn assert_both_serve(agent: &Agent, nodes: &[Server; 2]) {
    let metrics = agent.metrics();
    for node in nodes {
        let port = node.port.to_string();
        let labels = [("port", port.as_str()), ("resumption", "resumed")];
        let resumed = metrics.sum("reprise_service_handshakes_total", &labels);
        assert!(resumed > 0.0, "{}", metrics.show("service_handshakes"));
    }
}

/// Returns a recipe of the page without the lines that contain one of `words`.
fn without(recipe: &str, words: &[&str]) -> String {
    let lines = recipe.lines();
    let rest: Vec<_> = lines
        .filter(|line| !words.iter().any(|word| line.contains(word)))
        .collect();
    assert!(rest.len() < recipe.lines().count(), "{recipe}");
    rest.join("\n") + "\n"
}

#[test]
fn haproxy_balances_by_source_address() {
    let recipe = &blocks(&doc(PAGE), "haproxy")[0];
    assert_recipe(
        "haproxy",
        &without(recipe, &["balance", "hash-type"]),
        recipe,
    );
}

#[test]
fn haproxy_remembers_the_node_of_a_client() {
    let recipe = &blocks(&doc(PAGE), "haproxy")[1];
    assert_recipe("haproxy", &without(recipe, &["stick"]), recipe);
}

#[test]
fn nginx_hashes_the_address() {
    let recipe = &blocks(&doc(PAGE), "nginx")[0];
    assert_recipe("nginx", &without(recipe, &["hash"]), recipe);
}

/// The manifest has the fields of the API and selects the node by the client's address.
#[test]
fn the_service_of_kubernetes_is_valid_for_the_api() {
    let manifest = &blocks(&doc(PAGE), "yaml")[0];
    let manifest = serde_saphyr::from_str(manifest).expect("no YAML");
    let spec = typed::<Service>(&manifest).spec.expect("no spec");
    assert_eq!(spec.session_affinity.as_deref(), Some("ClientIP"));
    assert_eq!(spec.external_traffic_policy.as_deref(), Some("Local"));
    let affinity = spec
        .session_affinity_config
        .and_then(|config| config.client_ip);
    let timeout = affinity.and_then(|affinity| affinity.timeout_seconds);
    // The API server rejects others (ValidateService, pkg/apis/core/validation).
    assert!(timeout.is_some_and(|seconds| (1..=86_400).contains(&seconds)));
}

/// The caches that the page names for Apache.
fn caches() -> [Cache; 2] {
    let (page, caches) = (doc(PAGE), [Cache::redis(), Cache::memcached()]);
    for cache in &caches {
        let [module, value] = [
            format!(
                "LoadModule socache_{0}_module /usr/lib/apache2/modules/mod_socache_{0}.so\n",
                cache.provider
            ),
            format!("SSLSessionCache {}:192.0.2.20:", cache.provider),
        ];
        assert!(
            page.contains(&module) && page.contains(&value),
            "{module}{value}"
        );
    }
    caches
}

/// Kinds of sessions that Apache stores in its cache.
const CACHED: [Sessions; 2] = [Sessions::Ids, Sessions::StatefulTickets];

#[test]
fn apache_shares_a_cache() {
    for cache in caches() {
        for sessions in CACHED {
            let own = [(); 2].map(|()| Server::apache(sessions));
            let mut fleet = Fleet::start(CLIENTS);
            let tls = format!("tls={}", sessions.version());
            // The agent does not know who issued these, as on a node of its own.
            fleet.connect(own[0].port, &tls);
            let agent = Agent::start(NO_ARGUMENTS);
            let before = agent.metrics();
            let missed = fleet.miss(own[1].port, &tls);
            assert_reason(&agent, &before, missed, "unknown");
            let before = agent.metrics();
            let missed = fleet.miss(own[0].port, &tls);
            assert_reason(&agent, &before, missed, "foreign_id");

            let shared = [(); 2].map(|()| Server::apache_sharing(sessions, &cache, 300));
            let mut fleet = Fleet::start(CLIENTS);
            let before = agent.metrics();
            fleet.connect(shared[0].port, "");
            let resumed = fleet.resume(shared[1].port, "") + fleet.resume(shared[0].port, "");
            let mut expected = Expected::default();
            expected.add(MISSES, &[], 0);
            expected.add(HANDSHAKES, &[SERVER, ("resumption", "resumed")], resumed);
            expected.assert_counted(&agent, &before);
        }
    }
}

/// The session is past its lifetime wherever it was stored.
#[test]
fn sessions_that_expire_in_a_shared_cache() {
    for cache in caches() {
        let nodes = [(); 2].map(|()| Server::apache_sharing(Sessions::Ids, &cache, 2));
        let agent = Agent::start(NO_ARGUMENTS);
        let mut fleet = Fleet::start(CLIENTS);
        fleet.connect(nodes[0].port, "");
        // The sessions expire meanwhile.
        sleep(Duration::from_secs(4));
        let before = agent.metrics();
        let missed = fleet.miss(nodes[1].port, "");
        assert_reason(&agent, &before, missed, "expired");
    }
}

/// A shared cache that loses its entries is not known to be full.
#[test]
fn a_shared_cache_that_is_replaced() {
    for start in [Cache::redis, Cache::memcached] {
        let cache = start();
        let nodes = [(); 2].map(|()| Server::apache_sharing(Sessions::Ids, &cache, 300));
        let agent = Agent::start(NO_ARGUMENTS);
        let mut fleet = Fleet::start(CLIENTS);
        fleet.connect(nodes[0].port, "");
        fleet.resume(nodes[1].port, "");
        drop(cache);
        let before = agent.metrics();
        let missed = fleet.miss(nodes[1].port, "");
        assert_reason(&agent, &before, missed, "unknown");
    }
}
