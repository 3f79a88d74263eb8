//! `reprise check`: is this host ready? One line for each thing that observation needs, with what was found and the remedy.
//! [`facts`] asks the host, the rest is pure: facts in, lines out.

pub mod facts;
mod kernel;
mod permission;
mod sensing;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

pub use self::facts::Facts;

/// Width of the longest name.
const NAME: usize = 36;

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is there.
    Ok,
    /// Handshakes are observed without it, but something else is not.
    Degraded,
    /// No handshake is observed without it.
    Missing,
    /// It is not needed here, or there is no telling before something else is there.
    #[serde(rename = "n/a")]
    NotApplicable,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Its stable name.
    pub name: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found, and what for.
    pub found: String,
    /// What to do; for people who do not know this program.
    pub remedy: Option<String>,
}

impl Item {
    fn new(name: impl Into<String>, verdict: Verdict, found: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            verdict,
            found: found.into(),
            remedy: None,
        }
    }

    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, found)
    }

    fn not_applicable(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::NotApplicable, found)
    }

    fn degraded(name: impl Into<String>, found: impl Into<String>, remedy: &str) -> Self {
        Self {
            remedy: Some(remedy.to_owned()),
            ..Self::new(name, Verdict::Degraded, found)
        }
    }

    fn missing(name: impl Into<String>, found: impl Into<String>, remedy: &str) -> Self {
        Self {
            remedy: Some(remedy.to_owned()),
            ..Self::new(name, Verdict::Missing, found)
        }
    }
}

/// Everything, in the order in which things build on each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether handshakes can be observed here: nothing is missing.
    pub ready: bool,
    /// One per thing; the same names on every host.
    pub items: Vec<Item>,
}

impl Report {
    /// Judges what was found.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let mut items = kernel::items(facts);
        items.extend(permission::items(facts));
        items.extend(sensing::items(facts));
        Self {
            ready: !items.iter().any(|item| item.verdict == Verdict::Missing),
            items,
        }
    }

    /// Names of what is missing.
    #[must_use]
    pub fn missing(&self) -> Vec<&str> {
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
            let verdict = match item.verdict {
                Verdict::Ok => "ok",
                Verdict::Degraded => "degraded",
                Verdict::Missing => "missing",
                Verdict::NotApplicable => "n/a",
            };
            write!(f, "{verdict:<8}  {:<NAME$}  {}", item.name, item.found)?;
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
