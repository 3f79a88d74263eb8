//! Every `reprise_*` family: name, help, labels, and where its values come from.

use std::fmt;

use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
    },
    metrics::MetricType,
    registry::Unit,
};

use super::Observed;
use crate::{
    correlate::{Cause, Resumption, Role, Version},
    stats::{BOUNDS, Histogram, PeerKey, PeerStats, Stats},
    status::{Sensor, Status},
};

/// Name shown for the peers that are not named.
const OTHER: &str = "other";

pub(super) fn encode(
    observed: &Observed,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let Observed { pipeline, status } = observed;
    let stats = &pipeline.stats;
    if status.observes_handshakes() {
        handshakes(stats, encoder)?;
        peers(stats, pipeline.now_ns(), encoder)?;
        if status.sensor(Sensor::Tcp).attached {
            loss(stats, encoder)?;
        }
    }
    agent(status, encoder)?;
    tables(observed, encoder)
}

fn handshakes(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_handshakes",
        "Completed TLS handshakes.",
        None,
    )?;
    for role in Role::ALL {
        for version in Version::ALL {
            for resumption in Resumption::ALL {
                let labels = [
                    ("role", role.label()),
                    ("version", version.label()),
                    ("resumption", resumption.label()),
                ];
                let value = stats.handshakes[role as usize][version as usize][resumption as usize];
                count(&mut family, &labels, value)?;
            }
        }
    }
    let mut family = counter(
        encoder,
        "reprise_handshake_failures",
        "TLS handshakes that did not complete, one cause each.",
        None,
    )?;
    for role in Role::ALL {
        for cause in Cause::ALL {
            let labels = [("role", role.label()), ("cause", cause.label())];
            count(
                &mut family,
                &labels,
                stats.failures[role as usize][cause as usize],
            )?;
        }
    }
    let mut family = encoder.encode_descriptor(
        "reprise_handshake_duration",
        "Completed handshakes from their first call to completion.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (labels, role, resumption) in by_resumption() {
        histogram(&mut family, &labels, &stats.duration[role][resumption])?;
    }
    let mut family = counter(
        encoder,
        "reprise_handshake_library",
        "Time inside the library's handshake code, completed handshakes.",
        Some(&Unit::Seconds),
    )?;
    for (labels, role, resumption) in by_resumption() {
        count(
            &mut family,
            &labels,
            seconds(stats.library_ns[role][resumption]),
        )?;
    }
    Ok(())
}

fn by_resumption() -> impl Iterator<Item = ([(&'static str, &'static str); 2], usize, usize)> {
    Role::ALL.into_iter().flat_map(|role| {
        Resumption::ALL.into_iter().map(move |resumption| {
            (
                [("role", role.label()), ("resumption", resumption.label())],
                role as usize,
                resumption as usize,
            )
        })
    })
}

fn peers(
    stats: &Stats,
    now_ns: u64,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut rows: Vec<(String, Role, &PeerStats)> = stats
        .peers
        .iter()
        .map(|(PeerKey { role, peer }, sums)| (peer.to_string(), *role, sums))
        .collect();
    rows.sort_unstable_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
    for role in Role::ALL {
        let other = &stats.peers.other()[role as usize];
        if *other != PeerStats::default() {
            rows.push((OTHER.to_owned(), role, other));
        }
    }
    let mut family = counter(
        encoder,
        "reprise_peer_handshakes",
        "Completed TLS handshakes per peer.",
        None,
    )?;
    for (peer, role, sums) in &rows {
        for resumption in Resumption::ALL {
            let labels = [
                ("peer", peer.as_str()),
                ("role", role.label()),
                ("resumption", resumption.label()),
            ];
            count(&mut family, &labels, sums.completed[resumption as usize])?;
        }
    }
    let mut family = counter(
        encoder,
        "reprise_peer_handshake_failures",
        "TLS handshakes that did not complete, per peer.",
        None,
    )?;
    for (peer, role, sums) in &rows {
        for cause in Cause::ALL {
            // Sparse: eight causes for every peer would be mostly zeroes.
            if sums.failures[cause as usize] > 0 {
                let labels = [
                    ("peer", peer.as_str()),
                    ("role", role.label()),
                    ("cause", cause.label()),
                ];
                count(&mut family, &labels, sums.failures[cause as usize])?;
            }
        }
    }
    let mut family = gauge(
        encoder,
        "reprise_peer_resume_ratio",
        "Resumed share of completed handshakes over the window, 0 to 1.",
    )?;
    for (peer, role, sums) in &rows {
        if let Some(ratio) = stats.peers.ratio(sums, now_ns) {
            set(
                &mut family,
                &[("peer", peer.as_str()), ("role", role.label())],
                ratio,
            )?;
        }
    }
    Ok(())
}

fn loss(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_handshake_retransmits",
        "TCP retransmissions that fell into connection set-up or handshake.",
        None,
    )?;
    for role in Role::ALL {
        for (phase, sum) in ["syn", "synack", "handshake"]
            .into_iter()
            .zip(stats.retransmits[role as usize])
        {
            let labels = [
                ("role", role.label()),
                ("phase", phase),
                ("direction", "sent"),
            ];
            count(&mut family, &labels, sum)?;
        }
    }
    let mut family = counter(
        encoder,
        "reprise_handshakes_with_loss",
        "Handshakes that met at least one retransmission.",
        None,
    )?;
    for role in Role::ALL {
        for (outcome, sum) in ["completed", "failed"]
            .into_iter()
            .zip(stats.with_loss[role as usize])
        {
            count(
                &mut family,
                &[("role", role.label()), ("outcome", outcome)],
                sum,
            )?;
        }
    }
    Ok(())
}

fn agent(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(
        "reprise_library",
        "One per distinct observed library build.",
        None,
        MetricType::Info,
    )?;
    let mut builds: Vec<_> = status
        .libraries
        .iter()
        .filter(|library| library.observed)
        .map(|library| {
            [
                ("library", library.library.as_str()),
                ("version", library.version.as_str()),
                ("entry", library.entry.as_str()),
                ("evidence", library.evidence.as_str()),
            ]
        })
        .collect();
    builds.sort_unstable();
    builds.dedup();
    for labels in &builds {
        family.encode_info(labels)?;
    }
    let mut family = gauge(
        encoder,
        "reprise_probe_attached",
        "Attach points per probe and verdict.",
    )?;
    for ((probe, verdict), sum) in &status.probes {
        set(
            &mut family,
            &[("probe", *probe), ("verdict", verdict.label())],
            *sum,
        )?;
    }
    let attached = || {
        Sensor::ALL
            .into_iter()
            .filter(|sensor| status.sensor(*sensor).attached)
    };
    let mut family = counter(
        encoder,
        "reprise_events",
        "Events read from the kernel.",
        None,
    )?;
    for sensor in attached() {
        count(
            &mut family,
            &[("sensor", sensor.label())],
            status.sensor(sensor).events,
        )?;
    }
    let mut family = counter(
        encoder,
        "reprise_events_lost",
        "Events lost, in the kernel or here.",
        None,
    )?;
    for sensor in attached() {
        count(
            &mut family,
            &[("sensor", sensor.label())],
            status.sensor(sensor).lost,
        )?;
    }
    if status.programs.is_empty() {
        return Ok(());
    }
    let mut family = counter(
        encoder,
        "reprise_bpf_runs",
        "Runs of each BPF program, by the kernel's accounting.",
        None,
    )?;
    for (program, (runs, _)) in &status.programs {
        count(&mut family, &[("program", program)], *runs)?;
    }
    let mut family = counter(
        encoder,
        "reprise_bpf_run",
        "Time inside each BPF program, by the kernel's accounting.",
        Some(&Unit::Seconds),
    )?;
    for (program, (_, ns)) in &status.programs {
        count(&mut family, &[("program", program)], seconds(*ns))?;
    }
    Ok(())
}

fn tables(observed: &Observed, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let Observed { pipeline, status } = observed;
    let tracked = pipeline.tracked();
    let peers = &pipeline.stats.peers;
    let mut family = gauge(
        encoder,
        "reprise_tracked",
        "Live entries per bounded table.",
    )?;
    for (table, entries) in [
        ("connections", tracked.connections as u64),
        ("libraries", status.libraries.len() as u64),
        ("open_handshakes", status.open_handshakes),
        ("peers", peers.len() as u64),
        ("waiting_handshakes", tracked.waiting as u64),
    ] {
        set(&mut family, &[("table", table)], entries)?;
    }
    let mut family = counter(
        encoder,
        "reprise_evictions",
        "Entries dropped from a bounded table for room.",
        None,
    )?;
    for (table, evicted) in [
        ("connections", tracked.evicted_connections),
        ("peers", peers.evicted()),
    ] {
        count(&mut family, &[("table", table)], evicted)?;
    }
    let mut family = encoder.encode_descriptor(
        "reprise_build",
        "Version of this agent.",
        None,
        MetricType::Info,
    )?;
    family.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
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

fn histogram(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); 2],
    histogram: &Histogram,
) -> Result<(), fmt::Error> {
    let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(histogram.counts).collect();
    family
        .encode_family(labels)?
        .encode_histogram::<NoLabelSet>(
            seconds(histogram.sum_ns),
            histogram.count(),
            &buckets,
            None,
        )
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
