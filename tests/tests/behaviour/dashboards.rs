//! The dashboards, parsed by Grafana, with every query run by a real Prometheus that scraped the
//! agent under real traffic.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use reprise_tests::client::misbehave;
use reprise_tests::host_lock;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::{PYTHON, fixture};
use reprise_tests::prometheus::{Prometheus, dashboards};
use reprise_tests::servers::Sessions;
use reprise_tests::testbed::Testbed;
use reprise_tests::{Client, Server};
use serde_json::Value;
use tempfile::TempDir;

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(dashboards("")).expect("failed to list the dashboards");
    let paths = entries.flatten().map(|entry| entry.path());
    let found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect();
    assert_eq!(found.len(), 4, "{found:?}");
    found
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("failed to read a dashboard");
    serde_json::from_str(&text).expect("no JSON")
}

/// Checks these files against Grafana's types.
fn typed(files: &[PathBuf]) -> Output {
    let tools = std::env::var_os("REPRISE_TOOLS").expect(
        "REPRISE_TOOLS is not set: run these tests by `cargo xtask test`, which downloads Grafana's types",
    );
    Command::new(PYTHON)
        .arg(fixture("dashboard.py"))
        .arg(Path::new(&tools).join("grafana"))
        .args(files)
        .output()
        .expect("failed to start Python")
}

#[test]
fn grafana_knows_every_field() {
    let output = typed(&files());
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    // The same check finds an error.
    let directory = TempDir::new().expect("failed to create a directory");
    for (pointer, name, value) in [
        ("/panels/0", "colour", Value::from("red")),
        ("/panels/0/options", "graphMode", Value::from("pie")),
        ("/templating/list/1", "refresh", Value::from("often")),
    ] {
        let mut dashboard = json(&files()[0]);
        let object = dashboard.pointer_mut(pointer).expect("nothing there");
        object[name] = value;
        let path = directory.path().join("wrong.json");
        fs::write(&path, dashboard.to_string()).expect("failed to write a dashboard");
        let output = typed(&[path]);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{pointer} {name}: {stdout}");
    }
}

#[test]
fn panels_have_units_and_thresholds_and_do_not_overlap() {
    for path in files() {
        let dashboard = json(&path);
        let mut taken = BTreeSet::new();
        for panel in dashboard["panels"].as_array().expect("no panels") {
            let title = panel["title"].as_str().expect("no title");
            let at = |name: &str| panel["gridPos"][name].as_u64().expect("no place");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(
                        x < 24 && taken.insert((x, y)),
                        "{path:?}: {title} at {x} {y}"
                    );
                }
            }
            if panel["type"] == "row" {
                continue;
            }
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(defaults["unit"].is_string(), "{title} has no unit");
            assert!(
                panel["description"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{title}"
            );
            // Every panel of a resumed share uses the same colours.
            if title.contains("esumed share") {
                let steps = defaults["thresholds"]["steps"]
                    .as_array()
                    .expect("no steps");
                let values: Vec<_> = steps
                    .iter()
                    .filter_map(|step| step["value"].as_f64())
                    .collect();
                assert_eq!(values, [0.10, 0.40, 0.75], "{title}");
            }
        }
        let link = &dashboard["links"][0];
        assert_eq!(link["tags"][0], "reprise");
        assert_eq!(dashboard["tags"][0], "reprise");
    }
}

/// Every query uses the chosen source, and each variable affects a query.
#[test]
fn every_variable_affects_a_query() {
    let (mut offered, node) = (BTreeSet::new(), "instance=~\"$node\"");
    for path in files() {
        let dashboard = json(&path);
        let variables: Vec<_> = dashboard["templating"]["list"]
            .as_array()
            .expect("no variables")
            .iter()
            .map(|variable| variable["name"].as_str().expect("no name"))
            .collect();
        assert_eq!(
            variables[..3],
            ["datasource", "cluster", "node"],
            "{path:?}"
        );
        let mut queries = String::new();
        for panel in dashboard["panels"].as_array().expect("no panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().expect("no query");
                assert_eq!(panel["datasource"]["uid"], "${datasource}", "{query}");
                let chosen = query.contains("cluster=~\"$cluster\"") && query.contains(node);
                assert!(chosen, "{}: {query}", panel["title"]);
                queries.push_str(query);
            }
        }
        for name in &variables[1..] {
            assert!(queries.contains(&format!("${name}\"")), "{path:?}: ${name}");
        }
        offered.extend(variables.into_iter().map(str::to_owned));
    }
    for wanted in ["role", "namespace", "workload"] {
        assert!(offered.contains(wanted), "{offered:?}");
    }
}

/// Returns every query of every panel and variable, as Grafana would send it.
fn queries() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in files() {
        let dashboard = json(&path);
        let title = |panel: &Value| format!("{}: {}", dashboard["title"], panel["title"]);
        let marks = dashboard["annotations"]["list"].as_array();
        for mark in marks.into_iter().flatten() {
            let query = mark["expr"].as_str().expect("no query");
            // Most of the time there is no change.
            let query = query.strip_suffix(" > 0").expect("no threshold");
            let query = query.replace("$cluster", "test").replace("$node", ".*");
            found.push((mark["name"].to_string(), query));
        }
        for panel in dashboard["panels"].as_array().expect("no panels") {
            let targets = panel["targets"].as_array();
            for target in targets.into_iter().flatten() {
                let query = target["expr"].as_str().expect("no query");
                let query = query
                    .replace("$__rate_interval", "10s")
                    .replace("$cluster", "test")
                    .replace("$role", "server")
                    .replace("$node", ".*")
                    .replace("$namespace", ".*")
                    .replace("$workload", ".*")
                    .replace("$peer", ".*");
                assert!(!query.contains('$'), "{query}");
                found.push((title(panel), query));
            }
        }
        for variable in dashboard["templating"]["list"]
            .as_array()
            .expect("no variables")
        {
            if variable["type"] != "query" {
                continue;
            }
            let ask = variable["query"].as_str().expect("no query");
            let inner = ask
                .strip_prefix("label_values(")
                .and_then(|ask| ask.strip_suffix(')'));
            let (series, label) = inner.and_then(|inner| inner.rsplit_once(", ")).expect(ask);
            let series = series.replace("$cluster", ".*").replace("$node", ".*");
            let name = format!("{}: ${}", dashboard["title"], variable["name"]);
            found.push((name, format!("count by ({label}) ({series}) > 0")));
        }
    }
    found
}

/// Returns the names of the recorded series by file.
fn recorded() -> Vec<(String, String)> {
    let path = dashboards("rules/recording.yaml");
    let text = fs::read_to_string(path).expect("failed to read the rules");
    let file: Value = serde_saphyr::from_str(&text).expect("no YAML");
    let groups = file["groups"].as_array().expect("no groups");
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("no rules"));
    rules
        .map(|rule| {
            let name = rule["record"].as_str().expect("no name").to_owned();
            ("recording.yaml".to_owned(), name)
        })
        .collect()
}

/// Maximum of series per node that the rules record, apart from those per ticket key, as in
/// docs/fleet.md.
const MAX_SERIES: f64 = 105.0;

/// Asserts that the rules record no more series than documented, and per peer only the worst.
fn assert_series_as_documented(prometheus: &Prometheus) {
    let count = |selector: &str| {
        let found = prometheus.query(&format!("count({selector})"));
        let found = found.expect("failed to read the response");
        let number = found.first().and_then(|one| one["value"][1].as_str());
        number.map_or(0.0, |number| number.parse().expect("a number"))
    };
    let series = count(r#"{__name__=~"instance:.+",key=""}"#);
    println!("{series} series recorded of one node");
    assert!((10.0..=MAX_SERIES).contains(&series), "{series}");
    let named = count(r#"{__name__=~"(instance|cluster):.+",peer!=""}"#);
    let topk = count(r#"{__name__=~"cluster:.+_peer_.+:topk.+",peer!=""}"#);
    assert_eq!(named, topk);
}

/// Enables the kernel's accounting of BPF programs until it is dropped.
struct Accounting {
    before: String,
}

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Accounting {
    fn on() -> Self {
        // No other program changes it during the test.
        host_lock::acquire();
        let before = fs::read_to_string(SWITCH).expect("failed to read the switch");
        fs::write(SWITCH, "1").expect("failed to switch the accounting on");
        Self { before }
    }
}

impl Drop for Accounting {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, &self.before);
    }
}

#[test]
fn every_query_returns_data() {
    let accounting = Accounting::on();
    // The server's flight is lost once per connection.
    // The clients of a service are known after two windows.
    let testbed = Testbed::with_agent(["--window", "10"]);
    let prometheus = Prometheus::start(testbed.agent.address);
    let rule = format!(
        "tcp sport {} ct reply packets 3 counter drop",
        testbed.server.port
    );
    testbed.net.rule(&testbed.net.client, &rule);
    let (ids, first, second) = (
        Server::haproxy(Sessions::Ids),
        Server::haproxy(Sessions::Tickets),
        Server::haproxy(Sessions::Tickets),
    );
    poll_until("Prometheus has scraped", DEADLINE, || {
        match prometheus
            .query("reprise_handshakes_with_loss_total")?
            .len()
        {
            0 => Err("nothing".to_owned()),
            _ => Ok(()),
        }
    });
    testbed.complete();

    let mut pending = queries();
    assert!(pending.len() > 60, "only {} queries", pending.len());
    pending.extend(recorded());
    poll_until("every query returns data", Duration::from_secs(60), || {
        let _ = Client::new(ids.port).connections(12).run();
        // Every second connection goes to a server without the key.
        let other = second.port.to_string();
        let client = Client::new(first.port).once_from("127.0.0.2");
        let _ = client
            .with("--other-port", other)
            .with("--connections", "6")
            .run();
        misbehave("plain-http", ids.port, 2);
        misbehave("reset-half-hello", ids.port, 2);
        pending.retain(|(title, query)| match prometheus.query(query) {
            Ok(series) => !series.iter().any(|one| {
                let value = one["value"][1].as_str().unwrap_or_default();
                value.parse::<f64>().is_ok_and(f64::is_finite)
            }),
            Err(error) => panic!("{title}: {error}"),
        });
        if pending.is_empty() {
            Ok(())
        } else {
            Err(format!("{pending:#?}"))
        }
    });
    assert_series_as_documented(&prometheus);
    drop(accounting);
    testbed.agent.assert_healthy();
}
