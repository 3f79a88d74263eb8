//! Families of services with a session cache.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::encode::{gauge, set};
use crate::{observed::Observed, views::services::workload};
use reprise_core::pipeline::sizing::{AGE_BOUNDS_S, Analysis, DISTANCE_BOUNDS, Spread};

/// Services with the same labels: they are shown as one.
type Labelled<'o> = BTreeMap<(&'o str, u16), Vec<&'o Analysis>>;

pub(super) fn services(
    observed: &Observed,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut services = Labelled::new();
    for (_, service) in observed.pipeline.services() {
        if let Some(cache) = &service.cache {
            let labels = (workload(observed, service), service.port);
            services.entry(labels).or_default().push(cache);
        }
    }
    let mut family = encoder.encode_descriptor(
        "reprise_session_reuse_age",
        "Time since a server stored the session that a client offers, of sessions in a cache.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    histograms(&mut family, &services, &AGE_BOUNDS_S, |cache| &cache.ages)?;
    let mut family = encoder.encode_descriptor(
        "reprise_session_reuse_distance",
        "Sessions that a server stored since it stored the one that a client offers.",
        None,
        MetricType::Histogram,
    )?;
    histograms(&mut family, &services, &DISTANCE_BOUNDS, |cache| {
        &cache.distances
    })?;
    let mut family = gauge(
        encoder,
        "reprise_sessions_alive",
        "Sessions within their lifetime, which the cache of a server would have to hold.",
    )?;
    for ((workload, port), caches) in &services {
        let alive: u64 = caches.iter().map(|cache| cache.alive()).sum();
        let port = port.to_string();
        set(
            &mut family,
            &[("workload", *workload), ("port", &port)],
            alive as f64,
        )?;
    }
    Ok(())
}

fn histograms<const N: usize>(
    family: &mut MetricEncoder<'_>,
    services: &Labelled<'_>,
    bounds: &[u32; N],
    spread: impl Fn(&Analysis) -> &Spread,
) -> Result<(), fmt::Error> {
    for ((workload, port), caches) in services {
        let port = port.to_string();
        let mut buckets: Vec<_> = bounds.iter().map(|bound| (f64::from(*bound), 0)).collect();
        buckets.push((f64::INFINITY, 0));
        let mut sum = 0.0;
        for cache in caches {
            let spread = spread(cache);
            sum += spread.sum;
            for (bucket, count) in buckets.iter_mut().zip(spread.counts()) {
                bucket.1 += count;
            }
        }
        let count = buckets.iter().map(|(_, count)| count).sum();
        family
            .encode_family(&[("workload", *workload), ("port", &port)])?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}
