//! Changes of services: what changed, and the hit ratio before and after.

use std::{thread, time::Duration};

use reprise_tests::{
    Agent,
    fleet::Fleet,
    poll::{DEADLINE, poll_until},
    servers::{Sessions, Tuning},
};
use serde_json::Value;

use crate::misses::{CLIENTS, RotatingNode, assert_reason, haproxy_node};

const NO_ARGUMENTS: [&str; 0] = [];

/// Waits for the newest change of this kind.
fn newest(agent: &Agent, kind: &str) -> Value {
    let mut found = Value::Null;
    poll_until(kind, DEADLINE, || {
        let body = agent.get("/api/v1/changes")?.body;
        let changes: Vec<Value> = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        let newest = changes.iter().find(|change| change["kind"] == kind);
        found = newest.cloned().ok_or(body)?;
        Ok(())
    });
    found
}

#[test]
fn a_restart_with_the_hit_ratio_before_and_after() {
    let server = haproxy_node(Sessions::Ids, false, &Tuning::default());
    let agent = Agent::start(NO_ARGUMENTS);
    let mut fleet = Fleet::start(CLIENTS);
    fleet.connect(server.port, "");
    // A process that served for a shorter time may be one for each connection.
    thread::sleep(Duration::from_secs(11));
    fleet.resume(server.port, "");
    let port = Some(server.port);
    drop(server);
    let tuning = Tuning {
        port,
        ..Tuning::default()
    };
    let server = haproxy_node(Sessions::Ids, false, &tuning);
    let before = agent.metrics();
    let missed = fleet.miss(server.port, "");
    assert_reason(&agent, &before, missed, "restarted");
    let change = newest(&agent, "service_replaced");
    assert_eq!(change["service"]["port"], server.port, "{change}");
    let expected = |accepted: u32, missed: u32| {
        let ratio = f64::from(accepted) / f64::from(accepted + missed);
        serde_json::json!({ "accepted": accepted, "missed": missed, "hit_ratio": ratio })
    };
    assert_eq!(change["before"], expected(CLIENTS, 0), "{change}");
    assert_eq!(change["after"], expected(0, missed), "{change}");
    let count = |kind| {
        agent
            .metrics()
            .sum("reprise_changes_total", &[("kind", kind)])
    };
    let counts = ["service_replaced", "ticket_key", "clock_step", "agent"].map(count);
    assert_eq!(counts, [1.0, 0.0, 0.0, 1.0]);
}

#[test]
fn a_key_that_is_rotated() {
    let node = RotatingNode::start(Sessions::OldTickets);
    let server = &node.server;
    let agent = Agent::start(NO_ARGUMENTS);
    let mut fleet = Fleet::start(CLIENTS);
    fleet.connect(server.port, "");
    fleet.resume(server.port, "");
    node.rotate();
    let mut others = Fleet::start(CLIENTS);
    others.connect(server.port, "");
    others.resume(server.port, "");
    let change = newest(&agent, "ticket_key");
    assert_eq!(change["service"]["port"], server.port, "{change}");
    let text = change["text"].as_str().expect("a text");
    assert!(text.contains("came into use"), "{change}");
    assert_eq!(
        agent
            .metrics()
            .sum("reprise_changes_total", &[("kind", "ticket_key")]),
        1.0
    );
}
