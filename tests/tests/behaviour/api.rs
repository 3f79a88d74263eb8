//! The JSON API: real responses checked against its OpenAPI document.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use reprise_tests::client::{SOURCES, misbehave};
use reprise_tests::fleet::Fleet;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::{PYTHON, fixture};
use reprise_tests::servers::{Sessions, Tuning};
use reprise_tests::truth::observe;
use reprise_tests::{Agent, Client, Server};
use serde_json::Value;

const NO_ARGUMENTS: [&str; 0] = [];

fn document() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json"))
}

/// Returns the differences between these responses and the document.
fn disagreements(answers: &BTreeMap<String, Value>) -> String {
    let mut check = Command::new(PYTHON)
        .arg(fixture("openapi.py"))
        .arg(document())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("failed to start Python");
    let text = serde_json::to_vec(answers).expect("no JSON");
    let mut stdin = check.stdin.take().expect("no input");
    stdin.write_all(&text).expect("failed to write the answers");
    drop(stdin);
    let output = check.wait_with_output().expect("failed to wait for Python");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.success(),
        stdout.trim().is_empty(),
        "{stdout}{stderr}"
    );
    stdout
}

#[test]
fn responses_match_the_document() {
    let server = Server::haproxy(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    let client = Client::new(server.port).connections(30);
    observe(&agent, &server, &client, 30);
    misbehave("plain-http", server.port, 2);
    let text = fs::read_to_string(document()).expect("failed to read the document");
    let openapi: Value = serde_json::from_str(&text).expect("no JSON");
    let mut answers = BTreeMap::new();
    let services = agent.get("/api/v1/services").expect("no response");
    let services: Value = serde_json::from_str(&services.body).expect("no JSON");
    let service = services["services"][0]["id"].to_string();
    for (path, item) in openapi["paths"].as_object().expect("no paths") {
        let path_of_one = path.replace("{peer}", SOURCES[0]).replace("{id}", &service);
        let answer = agent.get(&path_of_one).expect("no response");
        assert_eq!(answer.status, 200, "{path}");
        let content = &item["get"]["responses"]["200"]["content"];
        let kind = answer.header("content-type").expect("no type");
        let kind = kind.split(';').next().unwrap_or_default();
        assert!(content.get(kind).is_some(), "{path}: {kind}");
        if kind == "application/json" {
            let value = serde_json::from_str(&answer.body).expect("no JSON");
            answers.insert(path.clone(), value);
        }
    }
    assert_eq!(disagreements(&answers), "\n");
    assert_eq!(answers["/api/v1/openapi.json"], openapi);
    // The check detects a field that is not documented.
    let peers = &answers["/api/v1/peers"];
    assert!(
        peers.as_array().is_some_and(|peers| peers.len() > 3),
        "{peers}"
    );
    answers.get_mut("/api/v1/status").expect("no status")["mood"] = Value::from("good");
    assert!(disagreements(&answers).contains("mood"));
}

#[test]
fn only_the_worst_peers() {
    let server = Server::haproxy(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    let client = Client::new(server.port).connections(30);
    observe(&agent, &server, &client, 30);
    let ask = |path: &str| agent.get(path).expect("no response");
    let all: Vec<Value> = serde_json::from_str(&ask("/api/v1/peers").body).expect("no JSON");
    let some: Vec<Value> =
        serde_json::from_str(&ask("/api/v1/peers?limit=2").body).expect("no JSON");
    assert!(all.len() > 2);
    let gain = |peer: &Value| peer["full"].as_u64().expect("no number");
    let mut gains: Vec<_> = all.iter().map(gain).collect();
    gains.sort_unstable_by(|left, right| right.cmp(left));
    assert_eq!(some.iter().map(gain).collect::<Vec<_>>(), gains[..2]);
    assert_eq!(ask("/api/v1/peers?limit=few").status, 400);
    assert_eq!(ask("/api/v1/peers?limit=0").body, "[]");
}

/// The time of the wall clock, UTC, in the form of RFC 3339 without the zone.
fn wall_clock() -> String {
    let time = Command::new("date").args(["-u", "+%FT%T.%3N"]).output();
    let time = time.expect("failed to run date").stdout;
    String::from_utf8_lossy(&time).trim().to_owned()
}

/// The reasons of a peer's misses in one role.
fn reasons(agent: &Agent, name: &str, role: &str) -> Result<Vec<Value>, String> {
    let answer = agent
        .get(&format!("/api/v1/peers/{name}"))
        .expect("no answer");
    if answer.status != 200 {
        return Err(answer.body);
    }
    let peer: Value = serde_json::from_str(&answer.body).expect("no JSON");
    let roles = peer["roles"].as_array().expect("no roles");
    let one = roles.iter().find(|one| one["role"] == role);
    let reasons = one.and_then(|one| one["reasons"].as_array());
    Ok(reasons.cloned().unwrap_or_default())
}

#[test]
fn a_missed_session_has_its_rule_and_an_example() {
    const CLIENTS: u32 = 5;
    let tuning = Tuning {
        lifetime: 2,
        ..Tuning::default()
    };
    let server = Server::haproxy_tuned(Sessions::Ids, &tuning);
    let agent = Agent::start(NO_ARGUMENTS);
    let mut fleet = Fleet::start(CLIENTS);
    fleet.connect(server.port, "");
    // The lifetime of the sessions ends.
    sleep(Duration::from_secs(4));
    let begin = wall_clock();
    let missed = fleet.miss(server.port, "");
    let [reason] = poll_until("the misses are explained", DEADLINE, || {
        let reasons = reasons(&agent, "127.0.0.1", "server")?;
        let counted = reasons.iter().filter_map(|one| one["count"].as_u64());
        if counted.sum::<u64>() < u64::from(missed) {
            return Err(format!("{reasons:?}"));
        }
        <[Value; 1]>::try_from(reasons).map_err(|reasons| format!("{reasons:?}"))
    });
    assert_eq!(reason["reason"], "expired");
    let example = &reason["example"];
    let rule = example["rule"].as_str().expect("no rule");
    assert!(rule.contains("expired"), "{rule}");
    assert_eq!(example["server_port"], server.port);
    assert_eq!(example["mechanism"], "session_id");
    let seconds = |name: &str| example["evidence"][name].as_f64().expect("no number");
    assert!((3.0..60.0).contains(&seconds("age_seconds")), "{example}");
    assert_eq!(seconds("lifetime_seconds"), 2.0);
    let text = example["text"].as_str().expect("no text");
    assert!(
        text.contains(rule) && text.contains("lifetime 2.000 s"),
        "{text}"
    );
    let time = example["time"].as_str().expect("no time");
    assert!(begin.as_str() <= time && *time < *wall_clock(), "{time}");
    // The clients' side of the same misses, where the peer is the service; its name is
    // percent-encoded.
    let service = server.peer().replace(':', "%3A");
    let of_clients = poll_until("the clients' misses are counted", DEADLINE, || {
        let reasons = reasons(&agent, &service, "client")?;
        match reasons.first() {
            Some(first) if first["count"] == missed => Ok(first.clone()),
            _ => Err(format!("{reasons:?}")),
        }
    });
    assert_eq!(of_clients["reason"], "expired");
    assert_eq!(
        of_clients["example"]["rule"], rule,
        "the server's verdict is not the client's"
    );
    assert_eq!(
        reasons(&agent, "nobody", "server"),
        Err("no such peer\n".to_owned())
    );
}
