//! One requirement of the report.

use serde::Serialize;

/// Longest name, for the alignment of the text.
pub(super) const NAME_WIDTH: usize = 36;

/// Whether this host meets a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It does.
    Ok,
    /// It does not, and a part of the observation is not possible.
    Degraded,
    /// It does not, and no handshake can be observed.
    Missing,
    /// It is not required here, or not known before another requirement is met.
    #[serde(rename = "n/a")]
    NotApplicable,
}

impl Verdict {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
            Self::NotApplicable => "n/a",
        }
    }
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Item {
    /// Its stable name.
    pub(super) name: String,
    /// Whether this host meets it.
    pub(super) verdict: Verdict,
    /// What the check found.
    pub(super) found: String,
    /// What to do, for operators who do not know this program.
    pub(super) remedy: Option<String>,
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

    pub(super) fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, found)
    }

    pub(super) fn not_applicable(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::NotApplicable, found)
    }

    pub(super) fn degraded(
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..Self::new(name, Verdict::Degraded, found)
        }
    }

    pub(super) fn missing(
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..Self::new(name, Verdict::Missing, found)
        }
    }
}
