//! Every `reprise_*` family: name, help, labels, and where its values come from.

mod agent;
mod handshakes;
mod misses;
mod peers;
mod workloads;

use std::fmt;

use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
    },
    metrics::MetricType,
    registry::Unit,
};

use crate::{observed::Observed, status::Sensor};

pub(super) fn encode(
    observed: &Observed,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let Observed { pipeline, status } = observed;
    let stats = &pipeline.stats;
    if status.observes_handshakes() {
        handshakes::handshakes(stats, encoder)?;
        handshakes::errors(stats, &status.reasons, encoder)?;
        if status.sensor(Sensor::Wire).attached {
            handshakes::offers(stats, encoder)?;
            misses::misses(stats, encoder)?;
            if status.sensor(Sensor::Handshake).attached {
                misses::removals(pipeline, encoder)?;
            }
        }
        workloads::workloads(stats, encoder)?;
        let rows = peers::rows(stats);
        peers::peers(&rows, stats, pipeline.now_ns(), encoder)?;
        if status.sensor(Sensor::Wire).attached {
            misses::peers(&rows, encoder)?;
        }
        if status.sensor(Sensor::Tcp).attached {
            let received = status.sensor(Sensor::Wire).attached;
            handshakes::loss(stats, received, encoder)?;
        }
    }
    agent::agent(observed, encoder)?;
    agent::tables(observed, encoder)
}

pub(super) fn counter<'s>(
    encoder: &'s mut DescriptorEncoder<'_>,
    name: &'s str,
    help: &str,
    unit: Option<&'s Unit>,
) -> Result<MetricEncoder<'s>, fmt::Error> {
    encoder.encode_descriptor(name, help, unit, MetricType::Counter)
}

fn gauge<'s>(
    encoder: &'s mut DescriptorEncoder<'_>,
    name: &'s str,
    help: &str,
) -> Result<MetricEncoder<'s>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

fn count<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: impl EncodeCounterValue,
) -> Result<(), fmt::Error> {
    family
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, _, f64>(&value, None)
}

fn set<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: impl EncodeGaugeValue,
) -> Result<(), fmt::Error> {
    family.encode_family(labels)?.encode_gauge(&value)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
