//! Families of completed and failed handshakes, and of packet loss.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use prometheus_client::{
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::encode::{count, counter, seconds};
use reprise_core::{
    model::{Direction, FailureCause, Phase, Resumption, Role, Version},
    pipeline::{
        reasons::{self, Names},
        stats::{BOUNDS, Histogram, LIFETIME_BOUNDS_S, Stats},
    },
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
                let value = stats.handshakes[role][version][resumption];
                if resumption.shows(value) {
                    count(&mut family, labels, value)?;
                }
            }
        }
    }
    let mut family = counter(
        encoder,
        "reprise_handshake_failures",
        "TLS handshakes that did not complete, by cause.",
        None,
    )?;
    for role in Role::ALL {
        for cause in FailureCause::ALL {
            let labels = [("role", role.label()), ("cause", cause.label())];
            count(&mut family, labels, stats.failures[role][cause])?;
        }
    }
    let mut family = encoder.encode_descriptor(
        "reprise_handshake_duration",
        "Time of completed handshakes from the first call to completion.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (role, resumption) in by_resumption(stats) {
        let durations = &stats.duration[role][resumption];
        histogram(&mut family, &labels(role, resumption), durations)?;
    }
    let mut family = counter(
        encoder,
        "reprise_handshake_library",
        "Elapsed time of completed handshakes inside the library's handshake code.",
        Some(&Unit::Seconds),
    )?;
    for (role, resumption) in by_resumption(stats) {
        count(
            &mut family,
            labels(role, resumption),
            seconds(stats.library_ns[role][resumption]),
        )?;
    }
    Ok(())
}

pub(super) fn alerts_after_completion(
    stats: &Stats,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_alerts_after_completion",
        "Fatal alerts within a second after a handshake of TLS 1.3 completed on this side.",
        None,
    )?;
    for (role, alert, sum) in stats.alerts_after_completion.iter() {
        count(&mut family, [("role", role.label()), ("alert", alert)], sum)?;
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
        "Failed TLS handshakes with a library error, by error reason.",
        None,
    )?;
    // Two reasons may have the same name.
    let mut sums: BTreeMap<(Role, Cow<'_, str>), u64> = BTreeMap::new();
    for sum in stats.errors.iter() {
        let name = reasons::name(names, sum.reason);
        *sums.entry((sum.role, name)).or_default() += sum.failures;
    }
    for role in Role::ALL {
        let other = stats.errors.other()[role];
        if other > 0 {
            *sums.entry((role, Cow::Borrowed("other"))).or_default() += other;
        }
    }
    for ((role, reason), sum) in sums {
        count(
            &mut family,
            [("role", role.label()), ("reason", &reason)],
            sum,
        )?;
    }
    Ok(())
}

/// Labels of the families by role and resumption, in order.
fn by_resumption(stats: &Stats) -> impl Iterator<Item = (Role, Resumption)> {
    Role::ALL.into_iter().flat_map(move |role| {
        let versions = &stats.handshakes[role];
        let all = Resumption::ALL.into_iter();
        all.filter(move |resumption| {
            resumption.shows(versions.values().map(|sums| sums[*resumption]).sum())
        })
        .map(move |resumption| (role, resumption))
    })
}

fn labels(role: Role, resumption: Resumption) -> [(&'static str, &'static str); 2] {
    [("role", role.label()), ("resumption", resumption.label())]
}

/// Encodes the families of packet loss; `received` includes the segments that peers retransmitted.
pub(super) fn loss(
    stats: &Stats,
    received: bool,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_handshake_retransmits",
        "TCP retransmissions during connection set-up or handshake.",
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
                let sum = stats.retransmits[role][phase][direction];
                count(&mut family, labels, sum)?;
            }
        }
    }
    let mut family = counter(
        encoder,
        "reprise_handshakes_with_loss",
        "Handshakes with at least one retransmission; failed ones with a gap or a stall count, too.",
        None,
    )?;
    for role in Role::ALL {
        let sums = stats.with_loss[role];
        for (outcome, sum) in [("completed", sums.completed), ("failed", sums.failed)] {
            count(
                &mut family,
                [("role", role.label()), ("outcome", outcome)],
                sum,
            )?;
        }
    }
    Ok(())
}

/// Lifetimes of connections, by how they ended.
pub(super) fn lifetimes(
    stats: &Stats,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(
        "reprise_connection_lifetime",
        "Time from the beginning of a completed handshake to the end of its TCP connection.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (role, ends) in &stats.lifetimes.ended {
        for (end, lifetimes) in ends {
            let bounds = LIFETIME_BOUNDS_S.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(lifetimes.counts).collect();
            family
                .encode_family(&[("role", role.label()), ("end", end.label())])?
                .encode_histogram::<NoLabelSet>(
                    seconds(lifetimes.sum_ns),
                    lifetimes.counts.iter().sum(),
                    &buckets,
                    None,
                )?;
        }
    }
    Ok(())
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
