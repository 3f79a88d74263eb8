//! Families per peer.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::encode::{count, counter, gauge, set};
use reprise_core::{
    model::Role,
    pipeline::stats::{PeerKey, PeerStats, Stats},
};

/// Name shown for the peers without sums of their own.
const OTHER: &str = "other";

/// The sums of one peer.
pub(super) struct Row<'s> {
    pub(super) peer: String,
    pub(super) role: Role,
    pub(super) sums: &'s PeerStats,
}

/// Peers ordered by name, then role; those without sums of their own are last.
pub(super) fn rows(stats: &Stats) -> Vec<Row<'_>> {
    let named = stats.peers.iter();
    let named = named.map(|(PeerKey { role, peer }, sums)| Row {
        peer: peer.to_string(),
        role: *role,
        sums,
    });
    let mut rows: Vec<_> = named.collect();
    rows.sort_unstable_by(|left, right| (&left.peer, left.role).cmp(&(&right.peer, right.role)));
    for (role, sums) in stats.peers.other() {
        if *sums != PeerStats::default() {
            rows.push(Row {
                peer: OTHER.to_owned(),
                role,
                sums,
            });
        }
    }
    rows
}

pub(super) fn peers(
    rows: &[Row<'_>],
    stats: &Stats,
    now_ns: u64,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_peer_handshakes",
        "Completed TLS handshakes per peer.",
        None,
    )?;
    for Row { peer, role, sums } in rows {
        for (resumption, sum) in sums.completed {
            let labels = [
                ("peer", peer.as_str()),
                ("role", role.label()),
                ("resumption", resumption.label()),
            ];
            if resumption.shows(sum) {
                count(&mut family, &labels, sum)?;
            }
        }
    }
    let mut family = counter(
        encoder,
        "reprise_peer_handshake_failures",
        "TLS handshakes that did not complete, per peer.",
        None,
    )?;
    for Row { peer, role, sums } in rows {
        // Zeroes are left out: eight causes for every peer would be mostly zeroes.
        for (cause, sum) in sums.failures.into_iter().filter(|(_, sum)| *sum > 0) {
            let labels = [
                ("peer", peer.as_str()),
                ("role", role.label()),
                ("cause", cause.label()),
            ];
            count(&mut family, &labels, sum)?;
        }
    }
    let mut family = gauge(
        encoder,
        "reprise_peer_resume_ratio",
        "Resumed share of completed handshakes over the window, 0 to 1.",
    )?;
    for Row { peer, role, sums } in rows {
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
