//! Services and advice on their caches, as the API and `reprise advise` show them.

mod clients;
mod counts;
mod text;

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

pub use self::{
    clients::{AtOnce, ClientCounts},
    counts::{OfferCounts, ServiceCounts},
    text::report,
};
use super::owner::OwnerRow;
use crate::observed::Observed;
use reprise_core::{
    model::{Owner, ServiceId},
    pipeline::{
        Pipeline,
        sizing::{Advice, Measured, Service},
        stats::{ServiceKey, ServicePort},
    },
};

/// One service with its handshakes and its present cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// Number of the service within one run of the agent; `None` without a completed handshake from
    /// which its cache is analysed.
    pub id: Option<u32>,
    /// Owner of its processes.
    #[serde(flatten)]
    pub owner: OwnerRow,
    /// Its port; `None` for folded ports and where the connections are not known.
    pub port: Option<u16>,
    /// Handshakes of all services with these labels; `None` where they have no series.
    pub handshakes: Option<ServiceCounts>,
    /// Its clients within the window; `None` where they are not known.
    pub clients: Option<ClientCounts>,
    /// The present cache; `None` for a service that has stored no session.
    pub cache: Option<Measured>,
}

/// The services without series of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherServices {
    /// Services that left because the table was full.
    pub services: u64,
    /// Services that left because they had no handshake for long.
    pub forgotten: u64,
    /// Handshakes of those that left because the table was full.
    pub handshakes: ServiceCounts,
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
    /// Owner of its processes.
    #[serde(flatten)]
    pub owner: OwnerRow,
    /// Its port.
    pub port: u16,
    /// The advice.
    #[serde(flatten)]
    pub advice: Advice,
}

/// All services: those whose cache is analysed, then the others with series.
#[must_use]
pub fn list(observed: &Observed) -> ServiceList {
    let pipeline = &observed.pipeline;
    let table = &pipeline.stats.services;
    let counts = |key: &ServiceKey| table.get(key).map(ServiceCounts::from);
    let arrivals = pipeline.stats.arrivals.by_service(pipeline.now_ns());
    let clients = |key: &ServiceKey| arrivals.get(key).map(ClientCounts::from);
    let mut shown = BTreeSet::new();
    let analysed = pipeline.services().into_iter();
    let mut services: Vec<_> = analysed
        .map(|(id, service)| {
            let key = key(pipeline, service);
            let row = ServiceRow {
                id: Some(id.0),
                owner: OwnerRow::from(&*owner(pipeline, service)),
                port: Some(service.port),
                handshakes: key.as_ref().and_then(counts),
                clients: key.as_ref().and_then(clients),
                cache: service.cache.as_ref().map(|cache| cache.measured()),
            };
            shown.extend(key);
            row
        })
        .collect();
    for (key, sums) in table.named() {
        if !shown.contains(key) {
            services.push(ServiceRow {
                id: None,
                owner: OwnerRow::from(&*key.owner),
                port: match key.port {
                    ServicePort::Number(port) => Some(port),
                    ServicePort::Ephemeral | ServicePort::Unknown => None,
                },
                handshakes: Some(ServiceCounts::from(sums)),
                clients: clients(key),
                cache: None,
            });
        }
    }
    ServiceList {
        services,
        other: OtherServices {
            services: table.evicted(),
            forgotten: table.forgotten(),
            handshakes: ServiceCounts::from(table.other()),
        },
    }
}

/// Advice for one service; `None` where it is not in the table, or became part of another.
#[must_use]
pub fn advice(observed: &Observed, id: u32) -> Option<ServiceAdvice> {
    let service = observed.pipeline.analysed(ServiceId(id))?;
    Some(ServiceAdvice {
        id,
        owner: OwnerRow::from(&*owner(&observed.pipeline, service)),
        port: service.port,
        advice: service.advice(),
    })
}

/// The service with series to which an analysed one belongs; `None` if it has left the table.
pub(super) fn key(pipeline: &Pipeline, service: &Service) -> Option<ServiceKey> {
    let owner = owner(pipeline, service);
    let ports = [ServicePort::Number(service.port), ServicePort::Ephemeral];
    let keys = ports.map(|port| ServiceKey {
        owner: Arc::clone(&owner),
        port,
    });
    let table = &pipeline.stats.services;
    keys.into_iter().find(|key| table.get(key).is_some())
}

/// Owner of a service, `unknown` where it is not known.
pub(super) fn owner(pipeline: &Pipeline, service: &Service) -> Arc<Owner> {
    let owners = &pipeline.stats.owners;
    let known = owners.get(service.cgroup, service.process);
    Arc::clone(known.unwrap_or_else(|| owners.unknown()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{status::Status, testing::small_pipeline};
    use reprise_core::{
        model::{
            Connection, FailureCause, NetworkEvidence, NetworkNamespace, Observation, Offer,
            Outcome, Resumption, Role, Source, Version,
        },
        pipeline::{
            peers::Naming,
            record::Record,
            sizing::{Handshake, ServiceHandshake},
            workload::WorkloadEvent,
        },
    };

    /// Process 1 serves port 443 and process 2 port 8443, which completes no handshake.
    fn observed() -> Observed {
        let naming = Naming::default();
        let mut pipeline = small_pipeline(naming.clone());
        for (tgid, port, outcome) in [
            (1, 443, Outcome::Completed(Resumption::Full)),
            (2, 8_443, Outcome::Failed(FailureCause::Reset)),
        ] {
            let owner = Owner {
                namespace: "shop".to_owned(),
                ..Owner::from_workload(&format!("till-{tgid}"))
            };
            let event = WorkloadEvent::new(0, tgid, &owner, 1);
            pipeline.push(&Record::Workload(Box::new(event)));
            let seen = Observation {
                time_ns: 1,
                duration_ns: 1,
                role: Role::Server,
                tgid: Some(tgid),
                cgroup: None,
                version: Version::V12,
                outcome,
                connection: Some(Connection {
                    local: format!("192.0.2.1:{port}").parse().unwrap(),
                    remote: "192.0.2.9:1".parse().unwrap(),
                    namespace: NetworkNamespace::Unknown,
                }),
                network: NetworkEvidence::default(),
                source: Source::Wire,
                offer: Offer::Nothing,
                hello: None,
                alert: None,
                conflict: false,
                miss: None,
            };
            pipeline.stats.record(&seen, &naming);
        }
        let analysed = ServiceHandshake {
            port: 443,
            process: Some(1),
            cgroup: None,
            resumption: Resumption::Full,
            tls13: false,
            library_ns: None,
            cache: Handshake::default(),
            ticket: None,
        };
        pipeline.sizing_mut().record(ServiceId(7), &analysed);
        Observed {
            pipeline,
            status: Status::default(),
        }
    }

    #[test]
    fn services_have_their_owner_and_handshakes_with_and_without_an_analysis() {
        let list = list(&observed());
        let rows: Vec<_> = list
            .services
            .iter()
            .map(|row| (row.id, row.owner.to_string(), row.port))
            .collect();
        let expected = [
            (Some(7), "shop/till-1".to_owned(), Some(443)),
            (None, "shop/till-2".to_owned(), Some(8_443)),
        ];
        assert_eq!(rows, expected);
        let [first, second] = [0, 1].map(|at| list.services[at].handshakes.clone().unwrap());
        assert_eq!((first.full, first.failures.len()), (1, 0));
        assert_eq!((second.full, second.failures["reset"]), (0, 1));
        assert_eq!(list.other, OtherServices::default());
    }

    #[test]
    fn advice_names_the_owner() {
        let observed = observed();
        let known = advice(&observed, 7).unwrap();
        assert_eq!(known.owner.to_string(), "shop/till-1");
        assert_eq!(advice(&observed, 8), None);
    }
}
