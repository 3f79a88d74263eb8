//! `reprise advise`: advice on session caches, from a running agent or a recording.

mod client;

use std::{fmt, path::Path};

use serde::Serialize;

use super::{cli::Advise, config, failure::Failure, output, replay};
use crate::{
    observed::Observed,
    record::Recording,
    views::services::{self, ServiceAdvice, ServiceList},
};

/// The advice for each service.
#[derive(Debug, Serialize)]
struct Report(Vec<ServiceAdvice>);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&services::report(&self.0))
    }
}

/// Prints advice for each service.
///
/// # Errors
///
/// [`Failure`].
pub fn advise(args: &Advise) -> Result<(), Failure> {
    let report = match &args.recording {
        Some(path) => from_recording(args, path)?,
        None => from_agent(&args.connect)?,
    };
    output::print(&report, args.json)
}

fn from_recording(args: &Advise, path: &Path) -> Result<Report, Failure> {
    let observed = observe(args, path)?;
    let rows = services::list(&observed).services.into_iter();
    let advice = rows.filter_map(|row| services::advice(&observed, row.id?));
    Ok(Report(advice.collect()))
}

fn observe(args: &Advise, path: &Path) -> Result<Observed, Failure> {
    let pipeline = config::pipeline(&args.counting)?;
    let mut recording =
        Recording::open(path).map_err(|error| Failure::Usage(crate::chain(&error)))?;
    replay::observe(&mut recording, pipeline, |_| {}).map_err(|error| {
        let error = crate::chain(&error);
        Failure::Runtime(format!("{}: {error}", path.display()))
    })
}

fn from_agent(url: &str) -> Result<Report, Failure> {
    let list: ServiceList = client::get(url, "/api/v1/services")?;
    let ids = list.services.into_iter().filter_map(|row| row.id);
    let advice = ids.map(|id| client::get(url, &format!("/api/v1/services/{id}/advice")));
    Ok(Report(advice.collect::<Result<_, _>>()?))
}
