//! Families per peer.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{count, counter, gauge, set};
use reprise_core::model::{FailureCause as Cause, Resumption, Role};
use reprise_core::pipeline::stats::{PeerKey, PeerStats, Stats};

/// Name shown for the peers that are not named.
const OTHER: &str = "other";

/// Peers by name, then role, with their sums; those that are not named last.
pub(super) type Rows<'s> = [(String, Role, &'s PeerStats)];

pub(super) fn rows(stats: &Stats) -> Vec<(String, Role, &PeerStats)> {
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
    rows
}

pub(super) fn peers(
    rows: &Rows<'_>,
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
    for (peer, role, sums) in rows {
        for resumption in Resumption::ALL {
            let labels = [
                ("peer", peer.as_str()),
                ("role", role.label()),
                ("resumption", resumption.label()),
            ];
            let sum = sums.completed[resumption as usize];
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
    for (peer, role, sums) in rows {
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
    for (peer, role, sums) in rows {
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
