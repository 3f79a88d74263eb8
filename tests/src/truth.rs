//! Assertions that the agent's counters equal the client's own report.

use std::collections::BTreeMap;

use crate::agent::Agent;
use crate::client::{Client, Report};
use crate::metrics::Metrics;
use crate::poll::{DEADLINE, poll_until};
use crate::servers::Server;

/// Source address of the last handshake of an observation, which shows that all previous ones were
/// counted.
const LAST: &str = "127.0.0.99";

/// Counters and the rise expected of each.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    rises: BTreeMap<Key, f64>,
}

/// The sum of the samples of one family with these labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    family: &'static str,
    labels: Vec<(&'static str, String)>,
}

impl Key {
    fn read(&self, metrics: &Metrics) -> f64 {
        let labels: Vec<_> = self
            .labels
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        metrics.sum(self.family, &labels)
    }
}

impl Expected {
    /// Adds `count` to the expected rise of all samples in `family` with `labels`; 0 expects no
    /// change.
    pub fn add(
        &mut self,
        family: &'static str,
        labels: &[(&'static str, &str)],
        count: u32,
    ) -> &mut Self {
        let labels = labels
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        *self.rises.entry(Key { family, labels }).or_insert(0.0) += f64::from(count);
        self
    }

    /// Adds the handshakes of `report` with `server` for both roles, in total and per peer.
    pub fn add_report(&mut self, server: &Server, report: &Report) -> &mut Self {
        let (version, service) = (server.sessions.version(), server.peer());
        for (source, row) in &report.rows {
            for (resumption, count) in [("full", row.full), ("resumed", row.resumed)] {
                for (role, peer) in [("server", source.as_str()), ("client", service.as_str())] {
                    let labels = [("peer", peer), ("role", role), ("resumption", resumption)];
                    self.add("reprise_peer_handshakes_total", &labels, count);
                    let labels = [
                        ("role", role),
                        ("version", version),
                        ("resumption", resumption),
                    ];
                    self.add("reprise_handshakes_total", &labels, count);
                }
            }
        }
        // No handshakes with another version, role or kind.
        let total = report.total(|row| row.full + row.resumed);
        self.add("reprise_handshakes_total", &[], 2 * total)
    }

    /// Waits until every counter has risen since `before` by exactly the expected number.
    ///
    /// # Panics
    /// If a counter has another value at the deadline.
    pub fn assert_counted(&self, agent: &Agent, before: &Metrics) {
        poll_until("the agent counts the expected numbers", DEADLINE, || {
            let after = agent.metrics();
            let rises = self
                .rises
                .iter()
                .map(|(key, want)| (key, *want, key.read(&after) - key.read(before)));
            let wrong: Vec<_> = rises
                .filter(|(_, want, have)| want != have)
                .map(|(key, want, have)| {
                    format!(
                        "\n  {} {:?}: expected +{want}, observed +{have}",
                        key.family, key.labels
                    )
                })
                .collect();
            let page = || {
                ["handshakes_total", "failures_total", "misses_total", "lost"]
                    .map(|part| after.show(part))
                    .concat()
            };
            if wrong.is_empty() {
                Ok(())
            } else {
                Err(format!("{}\npage:{}", wrong.concat(), page()))
            }
        });
    }

    /// Like [`Self::assert_counted`]; then makes one more handshake, which the agent reports after
    /// everything still queued, and checks again. A number that is right by chance and changes
    /// later is noticed.
    ///
    /// # Panics
    /// If a counter has another value at the deadline.
    pub fn assert_final(&mut self, agent: &Agent, server: &Server, before: &Metrics) {
        self.assert_counted(agent, before);
        let last = Client::new(server.port).once_from(LAST).run();
        assert_eq!(
            last.total(|row| row.full),
            1,
            "the last handshake did not complete: {last:?}"
        );
        self.add_report(server, &last);
        self.assert_counted(agent, before);
        assert_nothing_lost(&agent.metrics());
    }
}

/// Runs `client` against `server` and asserts that the agent's counts for both roles rise by
/// exactly what the client reports, in total and per peer; that no failure is counted, such as a
/// call that returned for more input; that nothing is counted late; and that no event is lost.
///
/// # Panics
/// If a counter has another value at the deadline.
pub fn observe(agent: &Agent, server: &Server, client: &Client, at_least: u32) -> Report {
    let before = agent.metrics();
    let report = client.run();
    report.assert_mixed(at_least);
    let mut expected = Expected::default();
    expected.add_report(server, &report);
    expected
        .add("reprise_handshake_failures_total", &[], 0)
        .add("reprise_peer_handshake_failures_total", &[], 0);
    expected.assert_final(agent, server, &before);
    report
}

/// Asserts that every sensor reports zero lost events and that events were delivered at all.
///
/// # Panics
/// If a sensor lost events or reports no number.
pub fn assert_nothing_lost(metrics: &Metrics) {
    let lost: Vec<_> = metrics.matching("reprise_events_lost_total", &[]).collect();
    assert!(!lost.is_empty(), "no sensor reports lost events");
    assert!(
        lost.iter().all(|sample| sample.value == 0.0),
        "lost events: {lost:?}"
    );
    let events = metrics.sum("reprise_events_total", &[("sensor", "handshake")]);
    assert!(events > 0.0, "no events: {}", metrics.show("events"));
}

/// Makes single handshakes until the agent counts one. Attaching to a new library takes a moment,
/// and only handshakes made after that are counted exactly.
///
/// # Panics
/// If none is counted in time.
pub fn warm_up(agent: &Agent, server: &Server) {
    let counted = |peer: &str| {
        let labels = [("peer", peer), ("role", "server")];
        agent
            .metrics()
            .sum("reprise_peer_handshakes_total", &labels)
    };
    let before = counted("127.0.0.98");
    let mut made = 0;
    poll_until("the agent observes this server", DEADLINE, || {
        made += Client::new(server.port)
            .once_from("127.0.0.98")
            .run()
            .total(|row| row.full);
        if counted("127.0.0.98") > before {
            Ok(())
        } else {
            Err(format!("{made} made; agent: {}", agent.stderr()))
        }
    });
    // Some of these may still be queued in the agent. Two more follow one after the other: when the
    // second is counted, everything before it is.
    for round in 1..=2 {
        let before = counted("127.0.0.97");
        let _ = Client::new(server.port).once_from("127.0.0.97").run();
        poll_until("the agent has caught up", DEADLINE, || {
            let have = counted("127.0.0.97") - before;
            if have == 1.0 {
                Ok(())
            } else {
                Err(format!("round {round}: +{have}"))
            }
        });
    }
    // Handshakes from before the library was attached are counted from packets, after a delay.
    poll_until("all handshakes are counted", DEADLINE, || {
        let metrics = agent.metrics();
        let waiting = ["wire_handshakes", "waiting_handshakes", "first_flights"]
            .map(|table| metrics.sum("reprise_tracked", &[("table", table)]));
        if waiting == [0.0; 3] {
            Ok(())
        } else {
            Err(format!("{waiting:?} pending"))
        }
    });
}
