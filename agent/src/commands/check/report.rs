//! The report of all requirements.

use std::fmt;

use serde::Serialize;

use super::{
    facts::Facts,
    item::{Item, NAME_WIDTH, Verdict},
    kernel, permission, sensing,
};

/// All requirements; one that depends on another comes after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// Whether handshakes can be observed on this host: no requirement is missing.
    pub(super) ready: bool,
    /// The requirements, with the same names on every host.
    pub(super) items: Vec<Item>,
}

impl Report {
    /// Evaluates the facts.
    pub(super) fn from_facts(facts: &Facts) -> Self {
        let mut items = kernel::items(facts);
        items.extend(permission::items(facts));
        items.extend(sensing::items(facts));
        Self {
            ready: !items.iter().any(|item| item.verdict == Verdict::Missing),
            items,
        }
    }

    /// Names of the missing requirements.
    pub(super) fn missing(&self) -> Vec<&str> {
        self.items
            .iter()
            .filter(|item| item.verdict == Verdict::Missing)
            .map(|item| item.name.as_str())
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            let verdict = item.verdict.label();
            write!(
                f,
                "{verdict:<8}  {:<NAME_WIDTH$}  {}",
                item.name, item.found
            )?;
            match &item.remedy {
                Some(remedy) => writeln!(f, "; remedy: {remedy}")?,
                None => writeln!(f)?,
            }
        }
        if self.ready {
            writeln!(f, "\nready: handshakes can be observed here")
        } else {
            writeln!(f, "\nnot ready: {}", self.missing().join(", "))
        }
    }
}
