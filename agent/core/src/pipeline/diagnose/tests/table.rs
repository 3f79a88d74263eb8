//! The documentation's table of rules.

use super::super::*;
use crate::model::MissReason;

/// The table as `docs/miss-reasons.md` shows it.
fn table() -> String {
    let mut text = String::from("| | rule | evidence | reason |\n|---|---|---|---|\n");
    for (number, rule) in RULES.iter().enumerate() {
        let Rule {
            name,
            evidence,
            reason,
            ..
        } = rule;
        text += &format!(
            "| {} | `{name}` | {evidence} | `{}` |\n",
            number + 1,
            reason.label()
        );
    }
    text
}

#[test]
fn the_documentation_has_the_rules_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/miss-reasons.md");
    let text = std::fs::read_to_string(path).expect("docs/miss-reasons.md");
    assert!(
        text.contains(&table()),
        "docs/miss-reasons.md must contain:\n\n{}",
        table()
    );
}

#[test]
fn every_rule_has_a_name_of_its_own() {
    for (number, rule) in RULES.iter().enumerate() {
        let mut others = RULES[number + 1..].iter();
        assert!(others.all(|other| other.name != rule.name), "{}", rule.name);
    }
    assert_eq!(
        RULES.last().map(|rule| rule.reason),
        Some(MissReason::Unknown)
    );
}

#[test]
fn every_reason_has_a_meaning_and_a_remedy_in_the_documentation() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    for (path, before, after) in [
        ("docs/operating.md", "\n| `", "` | "),
        ("docs/contract.md", "\n| `", "` | "),
        ("agent/src/views/http/page/page.js", "\n  ", ": \""),
    ] {
        let text = std::fs::read_to_string(format!("{root}/{path}")).expect(path);
        for reason in MissReason::ALL {
            let row = format!("{before}{}{after}", reason.label());
            assert!(text.contains(&row), "{path} has no row {row:?}");
        }
    }
}
