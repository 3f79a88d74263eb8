//! Families of offered sessions.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};

use super::{
    encode::{count, counter},
    peers::Row,
};
use reprise_core::{
    model::{EarlyDataOutcome, Mechanism, Role},
    pipeline::stats::Stats,
};

pub(super) fn offers(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_resumption_offers",
        "Handshakes whose ClientHello offered a session, by outcome.",
        None,
    )?;
    for role in Role::ALL {
        for mechanism in Mechanism::ALL {
            let sums = stats.offers[role].offered[mechanism];
            for (outcome, sum) in sums.labelled() {
                let labels = [
                    ("role", role.label()),
                    ("mechanism", mechanism.label()),
                    ("outcome", outcome),
                ];
                count(&mut family, labels, sum)?;
            }
        }
    }
    by_role(
        encoder,
        "reprise_resumption_not_offered",
        "Completed handshakes whose ClientHello offered no session.",
        |role| stats.offers[role].not_offered,
    )?;
    by_role(
        encoder,
        "reprise_resumption_offer_unknown",
        "Completed handshakes whose ClientHello, or whose resumption, was not read.",
        |role| stats.offers[role].unknown,
    )?;
    external(stats, encoder)?;
    early_data(stats, encoder)?;
    let mut family = counter(
        encoder,
        "reprise_evidence_conflicts",
        "Handshakes for which packets and library disagree on whether a session was resumed.",
        None,
    )?;
    family.encode_counter::<NoLabelSet, _, f64>(&stats.conflicts, None)
}

fn external(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_external_psk",
        "Handshakes with external pre-shared keys, by outcome.",
        None,
    )?;
    for role in Role::ALL {
        for (outcome, sum) in stats.offers[role].external.labelled() {
            let labels = [("role", role.label()), ("outcome", outcome)];
            count(&mut family, labels, sum)?;
        }
    }
    Ok(())
}

/// Encodes the external PSKs of each peer. Zeroes are left out: most peers have none.
pub(super) fn peers(rows: &[Row], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_peer_external_psk",
        "Handshakes with external pre-shared keys per peer, by outcome.",
        None,
    )?;
    for row in rows {
        for (outcome, sum) in &row.external {
            let labels = [
                ("peer", row.peer.as_str()),
                ("role", row.role.label()),
                ("outcome", *outcome),
            ];
            count(&mut family, labels, *sum)?;
        }
    }
    Ok(())
}

fn early_data(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_early_data",
        "Handshakes whose ClientHello offered early data, by outcome.",
        None,
    )?;
    for role in Role::ALL {
        for outcome in EarlyDataOutcome::ALL {
            let labels = [("role", role.label()), ("outcome", outcome.label())];
            count(&mut family, labels, stats.early_data[role][outcome])?;
        }
    }
    Ok(())
}

/// Encodes a family with one counter per role.
fn by_role(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    sum: impl Fn(Role) -> u64,
) -> Result<(), fmt::Error> {
    let mut family = counter(encoder, name, help, None)?;
    for role in Role::ALL {
        count(&mut family, [("role", role.label())], sum(role))?;
    }
    Ok(())
}
