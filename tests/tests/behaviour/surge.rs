//! Clients that return at once, and clients that behave as no working client does, against the
//! usual ones.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use reprise_tests::client::Client;
use reprise_tests::metrics::Metrics;
use reprise_tests::poll::poll_until;
use reprise_tests::process::{PYTHON, Process, fixture};
use reprise_tests::servers::{Sessions, Tuning};
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Server};
use serde_json::Value;

/// Clients of `fixtures/surge.py`.
const REGULARS: f64 = 8.0;
const FLEET: f64 = 200.0;
const STRANGERS: f64 = 40.0;
const EVENT_TIME: Duration = Duration::from_secs(60);

/// A server whose usual clients the agent knows.
struct Bench {
    server: Server,
    agent: Agent,
    clients: Process,
}

impl Bench {
    /// Starts the clients, and waits until the agent knows what is usual.
    fn learned(sessions: Sessions, event: &str) -> Self {
        Self::with_server(Server::haproxy(sessions), event)
    }

    fn with_server(server: Server, event: &str) -> Self {
        // The shortest window: a tenth is a second.
        let agent = Agent::start(["--window", "10"]);
        let mut command = Command::new(PYTHON);
        command.arg(fixture("surge.py")).arg(event);
        command.args(["--port", &server.port.to_string()]);
        // After two windows a client that was not observed before is new.
        command.args(["--learn", "17", "--rest", "8"]);
        let clients = Process::spawn(&mut command);
        let bench = Self {
            server,
            agent,
            clients,
        };
        assert_eq!(bench.number("reprise_service_surge", &[]), None);
        poll_until("the usual clients are known", EVENT_TIME, || {
            bench.is_printed("learned\n")
        });
        bench
    }

    fn is_printed(&self, text: &str) -> Result<(), String> {
        let (stdout, stderr) = (self.clients.stdout(), self.clients.stderr());
        if stdout.starts_with(text) && stderr.is_empty() {
            Ok(())
        } else {
            Err(stdout + &stderr)
        }
    }

    /// A gauge of the service; `None` where it is absent.
    fn number(&self, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
        number(&self.agent.metrics(), self.server.port, family, labels)
    }

    /// Waits until the event is over, without a storm or an attack meanwhile.
    fn wait_without_surge(&self) {
        poll_until("the clients came", EVENT_TIME, || {
            let number = self.number("reprise_service_surge", &[]);
            assert!(number.is_none_or(|number| number == 0.0), "{number:?}");
            self.is_printed("learned\ndone\n")
        });
    }

    /// Waits until the families that the alerts compare have these values: known clients,
    /// suspicious ones and the kind of the surge.
    fn wait(&self, returning: f64, suspects: f64, kind: &str) {
        poll_until(kind, EVENT_TIME, || {
            let metrics = self.agent.metrics();
            let number = |family, labels: &[_]| number(&metrics, self.server.port, family, labels);
            let surge = ["storm", "attack"].map(|kind| {
                let labels = [("kind", kind)];
                number("reprise_service_surge", &labels)
            });
            let expected = ["storm", "attack"].map(|one| Some(f64::from(u8::from(one == kind))));
            let peers = [
                number("reprise_peers_returning", &[]),
                number("reprise_peers_suspect", &[]),
            ];
            if surge == expected && peers == [Some(returning), Some(suspects)] {
                Ok(())
            } else {
                Err(format!(
                    "{surge:?} {peers:?} {:?}",
                    self.is_printed("learned\ndone\n")
                ))
            }
        });
        let answer = self.agent.get("/api/v1/services").expect("no response");
        let services: Value = serde_json::from_str(&answer.body).expect("no JSON");
        let services = services["services"].as_array().expect("a list");
        let of_server = |service: &&Value| service["port"] == self.server.port;
        let service = services.iter().find(of_server).expect("the service");
        assert_eq!(service["clients"]["surge"], kind, "{service}");
    }
}

fn number(metrics: &Metrics, port: u16, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let port = port.to_string();
    let mut all = vec![("port", port.as_str()), ("workload", "haproxy")];
    all.extend(labels);
    let is_present = metrics.matching(family, &all).next().is_some();
    is_present.then(|| metrics.sum(family, &all))
}

#[test]
fn known_clients_that_return_after_a_restart_are_a_storm() {
    let mut bench = Bench::learned(Sessions::Ids, "storm");
    bench.wait(REGULARS, 0.0, "none");
    let tuning = Tuning {
        port: Some(bench.server.port),
        ..Tuning::default()
    };
    bench.server.process.signal(Signal::SIGKILL);
    bench.server.process.wait_ended();
    std::thread::sleep(Duration::from_secs(1));
    bench.server = Server::haproxy_tuned(Sessions::Ids, &tuning);
    bench.wait(REGULARS + FLEET, 0.0, "storm");
    assert_eq!(bench.number("reprise_peers_new", &[]), Some(0.0));
    // It ends with the window.
    bench.wait(REGULARS, 0.0, "none");
}

#[test]
fn unknown_clients_with_invented_session_ids_are_an_attack() {
    let bench = Bench::learned(Sessions::Ids, "invented");
    bench.wait(REGULARS, STRANGERS, "attack");
    let labels = [("suspicion", "invented_sessions")];
    assert_eq!(
        bench.number("reprise_peers_suspect", &labels),
        Some(STRANGERS)
    );
    assert_eq!(bench.number("reprise_peers_new", &[]), Some(STRANGERS));
}

#[test]
fn unknown_clients_with_invented_tickets_are_an_attack() {
    let bench = Bench::learned(Sessions::OldTickets, "invented");
    bench.wait(REGULARS, STRANGERS, "attack");
    let labels = [("suspicion", "invented_sessions")];
    assert_eq!(
        bench.number("reprise_peers_suspect", &labels),
        Some(STRANGERS)
    );
}

#[test]
fn clients_of_another_node_are_no_attack() {
    let bench = Bench::learned(Sessions::Ids, "failover");
    bench.wait_without_surge();
    bench.wait(REGULARS, 0.0, "none");
    assert_eq!(bench.number("reprise_peers_new", &[]), Some(STRANGERS));
}

#[test]
fn unknown_clients_that_fill_the_cache_are_an_attack() {
    let tuning = Tuning {
        cache: 100,
        ..Tuning::default()
    };
    let server = Server::haproxy_tuned(Sessions::Ids, &tuning);
    let bench = Bench::with_server(server, "fill");
    bench.wait(REGULARS, STRANGERS, "attack");
    let labels = [("suspicion", "unused_sessions")];
    assert_eq!(
        bench.number("reprise_peers_suspect", &labels),
        Some(STRANGERS)
    );
}

#[test]
fn unknown_clients_that_complete_nothing_are_an_attack() {
    let bench = Bench::learned(Sessions::Ids, "half-open");
    bench.wait(REGULARS, STRANGERS, "attack");
    let labels = [("suspicion", "never_completed")];
    assert_eq!(
        bench.number("reprise_peers_suspect", &labels),
        Some(STRANGERS)
    );
    let answer = bench.agent.get("/api/v1/networks").expect("no response");
    let networks: Value = serde_json::from_str(&answer.body).expect("no JSON");
    let first = &networks[0];
    assert_eq!(first["network"], "127.23.0.0/24", "{networks}");
    assert_eq!(
        (&first["abandoned"], &first["completed"]),
        (&40.into(), &0.into())
    );
    assert_eq!(first["without_hello"], 20);
    assert_eq!(first["port"], bench.server.port);
}

#[test]
fn the_usual_mix_is_neither() {
    let bench = Bench::learned(Sessions::Ids, "normal");
    bench.wait_without_surge();
    // Ten of the fleet came back, and one address abandoned two handshakes.
    bench.wait(REGULARS + 10.0, 1.0, "none");
    assert_eq!(bench.number("reprise_peers_new", &[]), Some(11.0));
}

#[test]
fn handshakes_of_clients_that_have_closed_are_counted() {
    let server = Server::haproxy(Sessions::Ids);
    let agent = Agent::start([""; 0]);
    let before = agent.metrics();
    let report = Client::new(server.port).connections(20).run();
    report.assert_mixed(20);
    let arguments = [u32::from(server.port), server.process.pid(), 3];
    let mut command = Command::new(PYTHON);
    command.arg(fixture("gone.py"));
    command.args(arguments.map(|number| number.to_string()));
    assert_eq!(reprise_tests::process::run(&mut command), "done\n");
    Expected::default()
        .add("reprise_service_handshakes_total", &[], 23)
        .add(
            "reprise_service_gone_clients_total",
            &[("workload", "haproxy")],
            3,
        )
        .assert_counted(&agent, &before);
}
