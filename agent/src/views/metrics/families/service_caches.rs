//! Families of services with a session cache.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::{
    encode::{gauge, set},
    services::owner_labels,
};
use crate::{observed::Observed, views::services::key};
use reprise_core::pipeline::{
    sizing::{AGE_BOUNDS_S, Analysis, DISTANCE_BOUNDS, Spread},
    stats::ServiceKey,
};

/// Services with the same labels: they are shown as one.
type Labelled<'o> = BTreeMap<ServiceKey, Vec<&'o Analysis>>;

/// Families of the caches of all services that have series.
pub(super) fn service_caches(
    observed: &Observed,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let pipeline = &observed.pipeline;
    let mut services = Labelled::new();
    for (_, service) in pipeline.services() {
        if let Some(cache) = &service.cache
            && let Some(key) = key(pipeline, service)
        {
            services.entry(key).or_default().push(cache);
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
        "reprise_service_sessions_alive",
        "Sessions within their lifetime, which the cache of a server would have to hold.",
    )?;
    for (key, caches) in &services {
        let alive: u64 = caches.iter().map(|cache| cache.alive()).sum();
        let port = key.port.to_string();
        let labels = (owner_labels(&key.owner), [("port", port.as_str())]);
        set(&mut family, labels, alive as f64)?;
    }
    Ok(())
}

fn histograms<const N: usize>(
    family: &mut MetricEncoder<'_>,
    services: &Labelled<'_>,
    bounds: &[u32; N],
    spread: impl Fn(&Analysis) -> &Spread,
) -> Result<(), fmt::Error> {
    for (key, caches) in services {
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
        let port = key.port.to_string();
        let labels = (owner_labels(&key.owner), [("port", port.as_str())]);
        family
            .encode_family(&labels)?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}
