//! Samples of counter and gauge families.

use std::fmt;

use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder,
        NoLabelSet,
    },
    metrics::MetricType,
    registry::Unit,
};

/// Begins a counter family.
pub(in crate::views::metrics) fn counter<'s>(
    encoder: &'s mut DescriptorEncoder<'_>,
    name: &'s str,
    help: &str,
    unit: Option<&'s Unit>,
) -> Result<MetricEncoder<'s>, fmt::Error> {
    encoder.encode_descriptor(name, help, unit, MetricType::Counter)
}

/// Begins a gauge family.
pub(super) fn gauge<'s>(
    encoder: &'s mut DescriptorEncoder<'_>,
    name: &'s str,
    help: &str,
) -> Result<MetricEncoder<'s>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

/// Adds a sample to a counter family.
pub(super) fn count(
    family: &mut MetricEncoder<'_>,
    labels: impl EncodeLabelSet,
    value: impl EncodeCounterValue,
) -> Result<(), fmt::Error> {
    family
        .encode_family(&labels)?
        .encode_counter::<NoLabelSet, _, f64>(&value, None)
}

/// Adds a sample to a gauge family.
pub(super) fn set(
    family: &mut MetricEncoder<'_>,
    labels: impl EncodeLabelSet,
    value: impl EncodeGaugeValue,
) -> Result<(), fmt::Error> {
    family.encode_family(&labels)?.encode_gauge(&value)
}

/// Nanoseconds in seconds.
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
