//! Services and advice on their caches, as the API and `reprise advise` show them.

mod text;

use serde::{Deserialize, Serialize};

pub use self::text::report;
use crate::observed::Observed;
use reprise_core::{
    model::ServiceId,
    pipeline::{
        Pipeline,
        sizing::{Advice, Measured, Service},
    },
};

/// Name shown where the workload of a service is not known.
const UNKNOWN: &str = "unknown";

/// One service with its present cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// Number of the service within one run of the agent.
    pub id: u32,
    /// Its workload.
    pub workload: String,
    /// Its port.
    pub port: u16,
    /// The present cache; `None` for a service that has stored no session.
    pub cache: Option<Measured>,
}

/// Offers of the services that left the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherServices {
    /// Services that left the table.
    pub services: u64,
    /// Accepted offers.
    pub accepted: u64,
    /// Missed offers.
    pub missed: u64,
}

/// All services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceList {
    /// The most recently active services.
    pub services: Vec<ServiceRow>,
    /// The others.
    pub other: OtherServices,
}

/// Advice for one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceAdvice {
    /// Number of the service within one run of the agent.
    pub id: u32,
    /// Its workload.
    pub workload: String,
    /// Its port.
    pub port: u16,
    /// The advice.
    #[serde(flatten)]
    pub advice: Advice,
}

/// All services.
#[must_use]
pub fn list(observed: &Observed) -> ServiceList {
    let pipeline = &observed.pipeline;
    let sizing = pipeline.sizing();
    let services = pipeline.services().into_iter();
    ServiceList {
        services: services
            .map(|(id, service)| ServiceRow {
                id: id.0,
                workload: workload(observed, service).to_owned(),
                port: service.port,
                cache: service.cache.as_ref().map(|cache| cache.measured()),
            })
            .collect(),
        other: OtherServices {
            services: sizing.evicted(),
            accepted: sizing.other().accepted,
            missed: sizing.other().missed,
        },
    }
}

/// Advice for one service; `None` where it is not in the table, or became part of another.
#[must_use]
pub fn advice(observed: &Observed, id: u32) -> Option<ServiceAdvice> {
    let service = observed.pipeline.analysed(ServiceId(id))?;
    Some(ServiceAdvice {
        id,
        workload: workload(observed, service).to_owned(),
        port: service.port,
        advice: service.advice(),
    })
}

/// Workload of a service, for display.
#[must_use]
pub fn workload<'o>(observed: &'o Observed, service: &Service) -> &'o str {
    known_workload(&observed.pipeline, service).unwrap_or(UNKNOWN)
}

/// Workload of a service, where it is known.
pub(super) fn known_workload<'p>(pipeline: &'p Pipeline, service: &Service) -> Option<&'p str> {
    let owner = pipeline.stats.owners.get(service.cgroup, service.process)?;
    Some(&owner.workload)
}
