//! Families of offered sessions.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};

use super::encode::{count, counter};
use reprise_core::{
    model::{Mechanism, Role},
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
            for (outcome, sum) in [
                ("accepted", sums.accepted),
                ("missed", sums.missed),
                ("failed", sums.failed),
            ] {
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
            stats.offers[role].not_offered,
        )?;
    }
    let mut family = counter(
        encoder,
        "reprise_resumption_offer_unknown",
        "Completed handshakes whose ClientHello, or whose resumption, was not read.",
        None,
    )?;
    for role in Role::ALL {
        count(
            &mut family,
            &[("role", role.label())],
            stats.offers[role].unknown,
        )?;
    }
    let mut family = counter(
        encoder,
        "reprise_evidence_conflicts",
        "Handshakes for which packets and library disagree on whether a session was resumed.",
        None,
    )?;
    family.encode_counter::<NoLabelSet, _, f64>(&stats.conflicts, None)
}
