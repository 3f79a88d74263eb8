//! `reprise inspect`: the probe plan of a process or a file, as text or JSON. Attaches nothing.

use std::{fmt, path::Path};

use serde::Serialize;

use super::{cli::Inspect, failure::Failure, output};
use crate::host::discover::lookup::{self, LibraryFile};
use reprise_core::plan::{self, Images, Plan};

/// Plans of the libraries of a process or a file.
#[derive(Debug, Serialize)]
struct Report {
    /// The argument.
    target: String,
    /// Every library file of the target.
    libraries: Vec<Inspected>,
}

/// One library file.
#[derive(Debug, Serialize)]
struct Inspected {
    path: String,
    plan: Option<Plan>,
    /// Error without a plan.
    reason: Option<String>,
}

impl Inspected {
    fn from_file(file: LibraryFile) -> Self {
        let LibraryFile { path, ssl, crypto } = file;
        let images = Images {
            ssl: &ssl,
            crypto: crypto.as_ref().map(|image| image as _),
        };
        let (plan, reason) = match plan::plan(images) {
            Ok(plan) => (Some(plan), None),
            Err(error) => (None, Some(crate::chain(&error))),
        };
        Self { path, plan, reason }
    }
}

/// Prints the plans of a process (a number) or a file (anything else).
///
/// # Errors
///
/// [`Failure::Runtime`] if the target cannot be read or has no TLS library.
pub fn inspect(args: &Inspect) -> Result<(), Failure> {
    let report = report(&args.target).map_err(Failure::Runtime)?;
    output::print(&report, args.json)
}

fn report(target: &str) -> Result<Report, String> {
    let libraries = match target.parse::<u32>() {
        Ok(pid) => lookup::from_process(pid)?,
        Err(_) => {
            vec![lookup::from_file(Path::new(target)).map_err(|error| crate::chain(&error))?]
        }
    };
    if libraries.is_empty() {
        return Err(format!(
            "process {target} maps no libssl: it does not use TLS, or its TLS library is built in"
        ));
    }
    Ok(Report {
        target: target.to_owned(),
        libraries: libraries.into_iter().map(Inspected::from_file).collect(),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for library in &self.libraries {
            writeln!(f, "{}", library.path)?;
            if let Some(reason) = &library.reason {
                writeln!(f, "  not observable: {reason}")?;
            }
            let Some(plan) = &library.plan else {
                continue;
            };
            let version = plan.version.as_deref().unwrap_or("unknown");
            writeln!(
                f,
                "  version {version}, build ID {}",
                plan.build_id.as_deref().unwrap_or("none")
            )?;
            for (kind, points) in [("entry", &plan.entries), ("exit", &plan.exits)] {
                for point in points {
                    let cost = if point.emulated {
                        "emulated"
                    } else {
                        "single-stepped"
                    };
                    writeln!(f, "  {kind} at file offset {:#x}, {cost}", point.offset)?;
                }
            }
            for (part, evidence) in &plan.evidence {
                writeln!(f, "  {part}: {evidence}")?;
            }
        }
        Ok(())
    }
}
