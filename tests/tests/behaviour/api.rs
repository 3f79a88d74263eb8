//! The JSON API: real responses checked against its OpenAPI document.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use reprise_tests::client::misbehave;
use reprise_tests::process::{PYTHON, fixture};
use reprise_tests::servers::Sessions;
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
fn answers_agree_with_the_document() {
    let server = Server::haproxy(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    let client = Client::new(server.port).connections(30);
    observe(&agent, &server, &client, 30);
    misbehave("plain-http", server.port, 2);
    let text = fs::read_to_string(document()).expect("failed to read the document");
    let openapi: Value = serde_json::from_str(&text).expect("no JSON");
    let mut answers = BTreeMap::new();
    for (path, item) in openapi["paths"].as_object().expect("no paths") {
        let answer = agent.get(path).expect("no answer");
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
fn the_worst_peers_alone() {
    let server = Server::haproxy(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    let client = Client::new(server.port).connections(30);
    observe(&agent, &server, &client, 30);
    let ask = |path: &str| agent.get(path).expect("no answer");
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
