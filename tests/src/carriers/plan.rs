//! The agent's plan for a file: the JSON of `reprise inspect`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::process::run;
use crate::user;

/// The parts of a plan that are compared.
#[derive(Debug, Clone, Deserialize)]
pub struct Plan {
    /// OpenSSL version.
    pub version: Option<String>,
    /// How the state machine is observed.
    pub hook: String,
    /// Entries of the state machine.
    pub entries: Vec<Point>,
    /// Exits of the state machine.
    pub exits: Vec<Point>,
    /// Probe point in `SSL_free`.
    pub free: Option<Point>,
    /// Probe points of raised errors.
    pub error: Option<ErrorPoint>,
    /// Fields by name: null, an offset, or an object with the offsets of the pointer path.
    pub fields: BTreeMap<String, serde_json::Value>,
    /// The same for sessions, together with their probe points.
    session: BTreeMap<String, serde_json::Value>,
    /// Points where a server releases a session that it rejected.
    #[serde(skip)]
    pub rejections: Vec<Point>,
}

/// One probed instruction.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Point {
    /// Offset in the file, bytes.
    pub offset: u64,
    /// Stack pointer at the function's entry minus the one here, bytes.
    pub sp_delta: u64,
}

/// Probe points of raised errors.
#[derive(Debug, Clone, Deserialize)]
pub struct ErrorPoint {
    /// Probe points; every error passes one of them.
    pub points: Vec<Point>,
    /// Whether the points are in the crypto library.
    pub in_crypto: bool,
    /// Index of the argument that is the reason.
    pub reason_arg: u8,
}

#[derive(Debug, Deserialize)]
struct Report {
    libraries: Vec<Library>,
}

#[derive(Debug, Deserialize)]
struct Library {
    plan: Option<Plan>,
    reason: Option<String>,
}

/// Returns the plan for a file, or the reason why there is none.
///
/// # Panics
/// If the agent reports neither.
pub fn inspect(path: &Path) -> Result<Plan, String> {
    let text = run(user::agent().arg("inspect").arg(path).arg("--json"));
    let report: Report = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("no report on {}: {error}: {text}", path.display()));
    let [library] = report.libraries.try_into().expect("a file is one library");
    let Library { plan, reason } = library;
    plan.map(Plan::with_session)
        .ok_or_else(|| reason.expect("without a plan there is a reason"))
}

impl Plan {
    /// Adds the session's fields to the others.
    fn with_session(mut self) -> Self {
        for (part, name) in [
            ("pointer", "session"),
            ("time", "session_time"),
            ("timeout", "session_timeout"),
            ("id", "session_id"),
            ("id_length", "session_id_length"),
        ] {
            if let Some(value) = self.session.remove(part) {
                self.fields.insert(name.to_owned(), value);
            }
        }
        let calls = self.session.remove("turned_down");
        self.rejections = calls.map_or_else(Vec::new, |calls| {
            serde_json::from_value(calls).expect("points")
        });
        self
    }

    /// Returns the offsets of a field: none, one, or one more for each pointer that is followed.
    ///
    /// # Panics
    /// If the JSON value has another form.
    #[must_use]
    pub fn offsets(&self, field: &str) -> Vec<u64> {
        let number = |value: &serde_json::Value| value.as_u64().expect("an offset is a number");
        match self.fields.get(field) {
            None | Some(serde_json::Value::Null) => Vec::new(),
            Some(serde_json::Value::Object(place)) => {
                let parts = ["pointer", "second_pointer", "offset"];
                parts
                    .iter()
                    .filter_map(|part| place.get(*part))
                    .map(number)
                    .collect()
            }
            Some(value) => vec![number(value)],
        }
    }

    /// Returns the names of the fields that were found; `client_random` may be behind a pointer.
    #[must_use]
    pub fn found(&self) -> BTreeMap<&str, Vec<u64>> {
        let names = self.fields.keys().map(String::as_str);
        names
            .map(|name| (name.trim_end_matches("_behind"), self.offsets(name)))
            .filter(|(_, offsets)| !offsets.is_empty())
            .collect()
    }
}
