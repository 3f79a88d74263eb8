//! Families per service, and per workload of a client.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};

use super::encode::{count, counter};
use reprise_core::{
    model::{Mechanism, Owner},
    pipeline::stats::{OfferSums, ServiceKey, ServiceSums, Stats},
};

/// Value of every label of the services, or workloads, without series of their own.
const OTHER: &str = "other";

/// Labels of an owner.
pub(super) type OwnerLabels<'s> = [(&'s str, &'s str); 4];

pub(super) fn owner_labels(owner: &Owner) -> OwnerLabels<'_> {
    [
        ("namespace", &owner.namespace),
        ("pod", &owner.pod),
        ("container", &owner.container),
        ("workload", &owner.workload),
    ]
}

/// Labels of the owners without series of their own.
const OTHER_OWNERS: OwnerLabels<'static> = [
    ("namespace", OTHER),
    ("pod", OTHER),
    ("container", OTHER),
    ("workload", OTHER),
];

/// A service with its labels.
struct Row<'s> {
    owner: OwnerLabels<'s>,
    port: String,
    sums: &'s ServiceSums,
}

impl Row<'_> {
    fn labels(&self) -> (OwnerLabels<'_>, [(&str, &str); 1]) {
        (self.owner, [("port", &self.port)])
    }
}

fn rows(stats: &Stats) -> Vec<Row<'_>> {
    let named = stats.services.named().into_iter();
    let mut rows: Vec<_> = named
        .map(|(ServiceKey { owner, port }, sums)| Row {
            owner: owner_labels(owner),
            port: port.to_string(),
            sums,
        })
        .collect();
    let sums = stats.services.other();
    if !sums.is_empty() {
        rows.push(Row {
            owner: OTHER_OWNERS,
            port: OTHER.to_owned(),
            sums,
        });
    }
    rows
}

/// Families of the handshakes; `offers` are shown where ClientHellos are read.
pub(super) fn services(
    stats: &Stats,
    offers: bool,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let rows = rows(stats);
    let mut family = counter(
        encoder,
        "reprise_service_handshakes",
        "Completed TLS handshakes per service.",
        None,
    )?;
    for row in &rows {
        for (resumption, sum) in &row.sums.completed {
            if resumption.shows(*sum) {
                let labels = (row.labels(), [("resumption", resumption.label())]);
                count(&mut family, labels, *sum)?;
            }
        }
    }
    let mut family = counter(
        encoder,
        "reprise_service_failures",
        "TLS handshakes that did not complete, per service, by cause.",
        None,
    )?;
    for row in &rows {
        // Zeroes are left out: most services have no failures of most causes.
        for (cause, sum) in row.sums.failures.iter().filter(|(_, sum)| **sum > 0) {
            let labels = (row.labels(), [("cause", cause.label())]);
            count(&mut family, labels, *sum)?;
        }
    }
    let mut family = counter(
        encoder,
        "reprise_service_gone_clients",
        "Completed TLS handshakes whose client had closed or reset the connection before.",
        None,
    )?;
    for row in rows.iter().filter(|row| row.sums.gone > 0) {
        count(&mut family, row.labels(), row.sums.gone)?;
    }
    if offers {
        offer_families(&rows, encoder)?;
    }
    clients(stats, encoder)
}

fn offer_families(rows: &[Row<'_>], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_service_offers",
        "Handshakes whose ClientHello offered a session, per service, by outcome.",
        None,
    )?;
    for row in rows {
        offers_of(row, &row.sums.offers, &mut family)?;
    }
    let mut family = counter(
        encoder,
        "reprise_service_cache_misses",
        "Offered sessions that were not resumed, per service, by diagnosed reason.",
        None,
    )?;
    for row in rows {
        for (reason, sum) in row.sums.misses.iter().filter(|(_, sum)| **sum > 0) {
            let labels = (row.labels(), [("reason", reason.label())]);
            count(&mut family, labels, *sum)?;
        }
    }
    Ok(())
}

/// The outcomes of each mechanism that was offered, with their zeroes: a ratio needs them.
fn offers_of(
    row: &Row<'_>,
    offers: &OfferSums,
    family: &mut MetricEncoder<'_>,
) -> Result<(), fmt::Error> {
    for mechanism in Mechanism::ALL {
        let sums = offers.offered[mechanism];
        if sums.total() == 0 {
            continue;
        }
        for (outcome, sum) in sums.labelled() {
            let offer = [("mechanism", mechanism.label()), ("outcome", outcome)];
            count(family, (row.labels(), offer), sum)?;
        }
    }
    Ok(())
}

fn clients(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_client_handshakes",
        "Completed TLS handshakes of clients on this host, per workload.",
        None,
    )?;
    let named = stats.clients.named().into_iter();
    let named = named.map(|(owner, sums)| (owner_labels(owner), sums));
    let other = Some(stats.clients.other()).filter(|sums| !sums.is_empty());
    for (owner, sums) in named.chain(other.map(|sums| (OTHER_OWNERS, sums))) {
        for (resumption, sum) in &sums.completed {
            if resumption.shows(*sum) {
                let labels = (owner, [("resumption", resumption.label())]);
                count(&mut family, labels, *sum)?;
            }
        }
    }
    Ok(())
}
