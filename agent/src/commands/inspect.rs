//! `reprise inspect`: the plan for a process or a file, in words or as JSON. Attaches nothing.

use std::{fmt, path::Path};

use serde::Serialize;

use crate::host::discover::lookup;
use reprise_core::plan::{self, Images, Plan};

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was asked for.
    target: String,
    /// Every library file in it.
    libraries: Vec<Inspected>,
}

/// One library file.
#[derive(Debug, Serialize)]
struct Inspected {
    path: String,
    plan: Option<Plan>,
    /// Why there is no plan.
    reason: Option<String>,
}

/// Inspects a process (a number) or a file (anything else).
///
/// # Errors
///
/// In words: what could not be read, or that there is no TLS library.
pub fn inspect(target: &str) -> Result<Report, String> {
    let libraries = match target.parse::<u32>() {
        Ok(pid) => lookup::from_process(pid)?,
        Err(_) => {
            vec![lookup::from_file(Path::new(target)).map_err(|error| crate::chain(&error))?]
        }
    };
    if libraries.is_empty() {
        return Err(format!(
            "process {target} maps no libssl: it speaks no TLS through a shared OpenSSL, or has one built in"
        ));
    }
    Ok(Report {
        target: target.to_owned(),
        libraries: libraries
            .into_iter()
            .map(|lookup::LibraryFile { path, ssl, crypto }| {
                let images = Images {
                    ssl: &ssl,
                    crypto: crypto.as_ref().map(|image| image as _),
                };
                match plan::plan(images) {
                    Ok(plan) => Inspected {
                        path,
                        plan: Some(plan),
                        reason: None,
                    },
                    Err(reason) => Inspected {
                        path,
                        plan: None,
                        reason: Some(crate::chain(&reason)),
                    },
                }
            })
            .collect(),
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
