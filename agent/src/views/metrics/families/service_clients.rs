//! Families of the clients that come to services on this host.

use std::{collections::HashMap, fmt};

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};

use super::{
    encode::{gauge, set},
    services::owner_labels,
};
use reprise_core::{
    model::{ClientKind, Surge, Suspicion},
    pipeline::{
        Pipeline,
        stats::{ServiceArrivals, ServiceKey},
    },
};

/// The clients of each service with series, in the order of the services.
struct Rows<'o> {
    keys: Vec<&'o ServiceKey>,
    arrivals: HashMap<&'o ServiceKey, ServiceArrivals>,
}

impl<'o> Rows<'o> {
    fn new(pipeline: &'o Pipeline) -> Self {
        let named = pipeline.stats.services.named().into_iter();
        Self {
            keys: named.map(|(key, _)| key).collect(),
            arrivals: pipeline.stats.arrivals.by_service(pipeline.now_ns()),
        }
    }

    /// Adds a sample for each service of which `value` is known.
    fn set(
        &self,
        family: &mut MetricEncoder<'_>,
        label: Option<(&'static str, &'static str)>,
        value: impl Fn(&ServiceArrivals) -> Option<u64>,
    ) -> Result<(), fmt::Error> {
        for key in &self.keys {
            let arrivals = self.arrivals.get(key);
            let learned = arrivals.filter(|arrivals| arrivals.is_learned);
            let Some(value) = learned.and_then(&value) else {
                continue;
            };
            let port = key.port.to_string();
            let labels = (owner_labels(&key.owner), [("port", port.as_str())]);
            match label {
                Some(label) => set(family, (labels, [label]), value)?,
                None => set(family, labels, value)?,
            }
        }
        Ok(())
    }
}

/// Families of the clients within the window. A service that was not observed for two windows has
/// no samples: its clients are not known yet.
pub(super) fn service_clients(
    pipeline: &Pipeline,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let rows = Rows::new(pipeline);
    let mut family = gauge(
        encoder,
        "reprise_peers_returning",
        "Clients of a service within the window that it knew before, by address.",
    )?;
    rows.set(&mut family, None, |arrivals| {
        Some(arrivals.clients[ClientKind::Returning])
    })?;
    let mut family = gauge(
        encoder,
        "reprise_peers_new",
        "Clients of a service within the window that were not observed before, by address.",
    )?;
    rows.set(&mut family, None, |arrivals| {
        let new = arrivals.clients[ClientKind::New];
        arrivals.knows_new.then_some(new)
    })?;
    let mut family = gauge(
        encoder,
        "reprise_peers_suspect",
        "Clients of a service within the window that behave as no working client does.",
    )?;
    for suspicion in Suspicion::ALL {
        let label = ("suspicion", suspicion.label());
        rows.set(&mut family, Some(label), |arrivals| {
            Some(arrivals.suspects[suspicion])
        })?;
    }
    let mut family = gauge(
        encoder,
        "reprise_service_surge",
        "1 while known clients of a service return at once, or suspicious ones attack it.",
    )?;
    for kind in [Surge::Storm, Surge::Attack] {
        let label = ("kind", kind.label());
        rows.set(&mut family, Some(label), |arrivals| {
            let surge = arrivals.surge();
            (surge != Surge::Unknown).then(|| u64::from(surge == kind))
        })?;
    }
    Ok(())
}
