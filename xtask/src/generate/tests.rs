//! Generated files are up to date, and every name in dashboards, rules and docs exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

mod references;

use super::{reference, rules};
use crate::paths;

/// Words that look like a metric family but are not.
const NO_FAMILIES: &[&str] = &["reprise_ebpf", "reprise_tests"];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn generated_files_are_up_to_date() {
    let mut stale = Vec::new();
    for (path, text) in super::files(&paths::workspace(), rules::RUNBOOK_BASE).unwrap() {
        if fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            stale.push(path);
        }
    }
    assert!(
        stale.is_empty(),
        "run `cargo xtask generate`; outdated: {stale:?}"
    );
}

/// Returns every file of dashboards, rules, deployment and docs.
fn texts() -> Vec<PathBuf> {
    let root = paths::workspace();
    let mut found: Vec<_> = [
        "README.md",
        "ARCHITECTURE.md",
        "SPECIFICATION.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ]
    .map(|name| root.join(name))
    .into();
    let mut directories = vec![
        root.join("dashboards"),
        root.join("docs"),
        root.join("deploy"),
    ];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|kind| {
                ["md", "json", "yaml", "tpl"]
                    .iter()
                    .any(|known| kind == *known)
            }) {
                found.push(path);
            }
        }
    }
    found
}

/// Returns the metric names that a query can use: families and their samples.
fn known() -> BTreeSet<String> {
    let families = reference::families(&paths::workspace()).unwrap();
    families
        .into_keys()
        .flat_map(|name| {
            let base = name
                .trim_end_matches("_total")
                .trim_end_matches("_info")
                .to_owned();
            let samples = ["_bucket", "_count", "_sum"].map(|suffix| format!("{name}{suffix}"));
            [name, base].into_iter().chain(samples)
        })
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
        .filter(|word| word.starts_with("reprise_") || word.contains(":reprise_"))
        .map(|word| word.trim_matches(':'))
}

#[test]
fn every_metric_name_exists() {
    let known = known();
    let recorded: BTreeSet<_> = all_rules()
        .iter()
        .filter_map(|rule| rule["record"].as_str().map(str::to_owned))
        .collect();
    // A regular expression may contain only the beginning of names.
    let is_prefix =
        |word: &str| word.ends_with('_') && known.iter().any(|name| name.starts_with(word));
    let exists = |word: &str| known.contains(word) || recorded.contains(word) || is_prefix(word);
    let mut unknown = BTreeMap::new();
    for path in texts() {
        for word in words(&read(&path)) {
            if !exists(word) && !NO_FAMILIES.contains(&word) {
                unknown.insert(word.to_owned(), path.clone());
            }
        }
    }
    assert!(unknown.is_empty(), "no such metric: {unknown:#?}");
}

#[test]
fn every_link_in_the_docs_resolves() {
    let root = paths::workspace();
    for path in texts()
        .iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"))
    {
        for link in read(path).split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            let (target, anchor) = target.split_once('#').unwrap_or((target, ""));
            if target.contains("://") {
                continue;
            }
            let file = match target {
                "" => path.clone(),
                target => path.parent().unwrap_or(&root).join(target),
            };
            assert!(file.exists(), "{}: {target}", path.display());
            let heading = |line: &str| {
                let words = line
                    .trim_start_matches('#')
                    .trim()
                    .to_lowercase()
                    .replace(' ', "-");
                words.replace(['`', ',', '.', '\''], "")
            };
            if !anchor.is_empty() {
                let text = read(&file);
                let mut headings = text
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(heading);
                assert!(
                    headings.any(|one| one == anchor),
                    "{}: #{anchor}",
                    path.display()
                );
            }
        }
    }
}

/// Every name in backquotes of a link text in SPECIFICATION.md occurs in the file that it links to.
#[test]
fn every_promise_names_an_existing_test() {
    let root = paths::workspace();
    let text = read(&root.join("SPECIFICATION.md"));
    let mut names = 0;
    for (before, after) in text.match_indices("](").map(|(at, _)| text.split_at(at)) {
        let label = before.rsplit('[').next().unwrap_or_default();
        let target = after[2..].split(')').next().unwrap_or_default();
        let path = root.join(target);
        // Odd parts of a split at backquotes are the quoted ones.
        for name in label.split('`').skip(1).step_by(2) {
            if path.is_file() && !name.contains(['.', '/', '-']) {
                assert!(read(&path).contains(name), "{target} has no {name}");
                names += 1;
            }
        }
    }
    assert!(names > 50, "{names}");
}

#[test]
fn every_family_is_used_in_a_dashboard_or_a_rule() {
    let shown: String = texts()
        .iter()
        .filter(|path| {
            path.components()
                .any(|part| part.as_os_str() == "dashboards")
        })
        .filter(|path| path.extension().is_some_and(|kind| kind != "md"))
        .map(|path| read(path))
        .collect();
    let shown: BTreeSet<_> = words(&shown).collect();
    let families = reference::families(&paths::workspace()).unwrap();
    let unused: Vec<_> = families
        .keys()
        .filter(|name| !shown.iter().any(|word| word.starts_with(name.as_str())))
        .collect();
    assert!(
        unused.is_empty(),
        "not used in a dashboard or rule: {unused:?}"
    );
}

/// Returns every rule of every group.
fn all_rules() -> Vec<Value> {
    let mut found = Vec::new();
    for name in rules::FILES {
        let path = paths::workspace().join("dashboards/rules").join(name);
        let file: Value = serde_saphyr::from_str(&read(&path)).unwrap();
        for group in file["groups"].as_array().unwrap() {
            found.extend(group["rules"].as_array().unwrap().iter().cloned());
        }
    }
    found
}

#[test]
fn every_alert_has_texts_and_a_runbook() {
    let root = paths::workspace();
    let text = read(&root.join("dashboards/rules/alerts.yaml"));
    let alerts: Vec<_> = all_rules()
        .into_iter()
        .filter(|rule| rule["alert"].is_string())
        .collect();
    assert!(!alerts.is_empty());
    for rule in &alerts {
        let name = rule["alert"].as_str().unwrap();
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}: {severity:?}"
        );
        let annotations = &rule["annotations"];
        assert!(
            annotations["summary"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{name}"
        );
        assert!(
            annotations["description"]
                .as_str()
                .is_some_and(|text| text.len() > 80),
            "{name}"
        );
        let runbook = annotations["runbook_url"].as_str().unwrap_or_default();
        assert_eq!(runbook, format!("docs/runbooks/{name}.md"));
        let runbook = read(&root.join(runbook));
        assert!(
            runbook.starts_with(&format!("# {name}\n")),
            "{name}: {runbook}"
        );
        for heading in ["## Meaning", "## Diagnosis", "## Remedy"] {
            assert!(runbook.contains(heading), "{name} has no {heading:?}");
        }
    }
    // Each `for` has a comment with its reason.
    let waits: Vec<_> = text
        .lines()
        .filter(|line| line.trim_start().starts_with("for:"))
        .collect();
    assert_eq!(waits.len(), alerts.len());
    for line in waits {
        assert!(
            line.split_once(" # ")
                .is_some_and(|(_, why)| why.len() > 20),
            "{line}"
        );
    }
    // Every runbook belongs to an alert.
    let runbooks = fs::read_dir(root.join("docs/runbooks")).unwrap().count();
    assert_eq!(runbooks, alerts.len());
}

#[test]
fn published_alerts_link_to_their_runbooks() {
    let files = rules::files(&paths::workspace(), "https://wiki.example/tls/").unwrap();
    let object = files
        .iter()
        .find(|(path, _)| path.ends_with("prometheusrule.yaml"));
    let object: Value = serde_saphyr::from_str(&object.unwrap().1).unwrap();
    let groups = object["spec"]["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let mut links = 0;
    for rule in rules.filter(|rule| rule["alert"].is_string()) {
        let link = rule["annotations"]["runbook_url"].as_str().unwrap();
        let path = link.strip_prefix("https://wiki.example/tls/").unwrap();
        assert!(paths::workspace().join(path).is_file(), "{link}");
        links += 1;
    }
    assert!(links > 10, "{links}");
    // The chart has the same default.
    let values = read(&paths::workspace().join("deploy/helm/reprise/values.yaml"));
    let values: Value = serde_saphyr::from_str(&values).unwrap();
    let base = &values["prometheusRule"]["runbookBase"];
    assert_eq!(base, rules::RUNBOOK_BASE);
}

#[test]
fn every_alert_has_a_firing_and_a_silent_test() {
    let mut fires = BTreeSet::new();
    let mut quiet = BTreeSet::new();
    let tests = paths::workspace().join("dashboards/rules/tests");
    for entry in fs::read_dir(tests).unwrap().flatten() {
        let file: Value = serde_saphyr::from_str(&read(&entry.path())).unwrap();
        for test in file["tests"].as_array().unwrap() {
            for case in test["alert_rule_test"].as_array().into_iter().flatten() {
                let name = case["alertname"].as_str().unwrap().to_owned();
                match case["exp_alerts"].as_array().unwrap().is_empty() {
                    true => quiet.insert(name),
                    false => fires.insert(name),
                };
            }
        }
    }
    let alerts: BTreeSet<_> = all_rules()
        .iter()
        .filter_map(|rule| rule["alert"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(fires, alerts);
    assert_eq!(quiet, alerts);
}
