//! Families of completed and failed handshakes and of the loss they met.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use prometheus_client::{
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::{count, counter, seconds};
use reprise_core::model::{
    Direction, FailureCause as Cause, Mechanism, Phase, Resumption, Role, Version,
};
use reprise_core::pipeline::{
    reasons::{self, Names},
    stats::{BOUNDS, Histogram, Stats},
};

pub(super) fn handshakes(
    stats: &Stats,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
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
                if resumption.shows(value) {
                    count(&mut family, &labels, value)?;
                }
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
    for (labels, role, resumption) in by_resumption(stats) {
        histogram(&mut family, &labels, &stats.duration[role][resumption])?;
    }
    let mut family = counter(
        encoder,
        "reprise_handshake_library",
        "Time inside the library's handshake code, completed handshakes.",
        Some(&Unit::Seconds),
    )?;
    for (labels, role, resumption) in by_resumption(stats) {
        count(
            &mut family,
            &labels,
            seconds(stats.library_ns[role][resumption]),
        )?;
    }
    Ok(())
}

pub(super) fn errors(
    stats: &Stats,
    names: &Names,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_handshake_errors",
        "Failed TLS handshakes in which the library raised an error, by its reason.",
        None,
    )?;
    // Two numbers may have one name.
    let mut sums: BTreeMap<(Role, Cow<'_, str>), u64> = BTreeMap::new();
    for (reason, role, sum) in stats.errors.iter() {
        *sums
            .entry((role, reasons::name(names, reason)))
            .or_default() += sum;
    }
    for role in Role::ALL {
        let other = stats.errors.other()[role as usize];
        if other > 0 {
            *sums.entry((role, Cow::Borrowed("other"))).or_default() += other;
        }
    }
    for ((role, reason), sum) in sums {
        count(
            &mut family,
            &[("role", role.label()), ("reason", &reason)],
            sum,
        )?;
    }
    Ok(())
}

fn by_resumption(
    stats: &Stats,
) -> impl Iterator<Item = ([(&'static str, &'static str); 2], usize, usize)> {
    Role::ALL.into_iter().flat_map(move |role| {
        let completed = move |resumption: Resumption| -> u64 {
            let versions = &stats.handshakes[role as usize];
            versions.iter().map(|sums| sums[resumption as usize]).sum()
        };
        let shown = Resumption::ALL.into_iter();
        let shown = shown.filter(move |resumption| resumption.shows(completed(*resumption)));
        shown.map(move |resumption| {
            (
                [("role", role.label()), ("resumption", resumption.label())],
                role as usize,
                resumption as usize,
            )
        })
    })
}

/// `received`: whether what the peer sent again is seen.
pub(super) fn loss(
    stats: &Stats,
    received: bool,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_handshake_retransmits",
        "TCP retransmissions that fell into connection set-up or handshake.",
        None,
    )?;
    for role in Role::ALL {
        for phase in Phase::ALL {
            for direction in Direction::ALL {
                if direction == Direction::Received && !received {
                    continue;
                }
                let labels = [
                    ("role", role.label()),
                    ("phase", phase.label()),
                    ("direction", direction.label()),
                ];
                let sum = stats.retransmits[role as usize][phase as usize][direction as usize];
                count(&mut family, &labels, sum)?;
            }
        }
    }
    let mut family = counter(
        encoder,
        "reprise_handshakes_with_loss",
        "Handshakes that met at least one retransmission; of failed ones, a gap or a stall counts, too.",
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

pub(super) fn offers(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_resumption_offers",
        "Completed handshakes whose ClientHello offered a session.",
        None,
    )?;
    for role in Role::ALL {
        for mechanism in Mechanism::ALL {
            let sums = stats.offers[role as usize][mechanism as usize];
            for (outcome, sum) in ["accepted", "missed"].into_iter().zip(sums) {
                let labels = [
                    ("role", role.label()),
                    ("mechanism", mechanism.label()),
                    ("outcome", outcome),
                ];
                count(&mut family, &labels, sum)?;
            }
        }
    }
    let mut family = counter(
        encoder,
        "reprise_resumption_not_offered",
        "Completed handshakes whose ClientHello offered no session.",
        None,
    )?;
    for role in Role::ALL {
        count(
            &mut family,
            &[("role", role.label())],
            stats.not_offered[role as usize],
        )?;
    }
    let mut family = counter(
        encoder,
        "reprise_evidence_conflicts",
        "Handshakes of which wire and library disagree whether a session was resumed.",
        None,
    )?;
    family.encode_counter::<NoLabelSet, _, f64>(&stats.conflicts, None)
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
