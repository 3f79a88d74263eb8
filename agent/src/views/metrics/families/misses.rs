//! Families of missed sessions: reasons, removals, ticket keys, alerts.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{count, counter, gauge, peers::Rows, set};
use reprise_core::model::{Mechanism, MissReason as Reason, Removal, Role};
use reprise_core::pipeline::{
    Pipeline,
    stats::{Stats, Topic},
};

pub(super) fn misses(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_cache_misses",
        "Offered sessions that were not resumed, by diagnosed reason.",
        None,
    )?;
    for role in Role::ALL {
        for mechanism in Mechanism::ALL {
            for reason in Reason::ALL {
                let sum = stats.misses[role as usize][mechanism as usize][reason as usize];
                if sum > 0 || can_be(mechanism, reason) {
                    let labels = [
                        ("role", role.label()),
                        ("mechanism", mechanism.label()),
                        ("reason", reason.label()),
                    ];
                    count(&mut family, &labels, sum)?;
                }
            }
        }
    }
    let mut family = counter(
        encoder,
        "reprise_ticket_key_offers",
        "Tickets offered to servers here, by the key that they are encrypted under.",
        None,
    )?;
    let named = stats.ticket_keys.named();
    let mut keys: Vec<_> = named
        .into_iter()
        .map(|(key, sums)| (format!("{key:08x}"), sums))
        .collect();
    let other = stats.ticket_keys.other();
    if other != [0, 0] {
        keys.push(("other".to_owned(), other));
    }
    for (key, sums) in &keys {
        for (outcome, sum) in ["accepted", "missed"].into_iter().zip(sums) {
            count(&mut family, &[("key", key), ("outcome", outcome)], *sum)?;
        }
    }
    Ok(())
}

/// Combinations that exist: only tickets have keys.
const fn can_be(mechanism: Mechanism, reason: Reason) -> bool {
    match mechanism {
        Mechanism::SessionId => !matches!(reason, Reason::ForeignKey | Reason::RetiredKey),
        Mechanism::Ticket => !matches!(
            reason,
            Reason::NotStored | Reason::ForeignId | Reason::Evicted | Reason::Removed
        ),
        Mechanism::Psk => true,
    }
}

pub(super) fn removals(
    pipeline: &Pipeline,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_sessions_removed",
        "Sessions dropped from a server's cache before their time.",
        None,
    )?;
    for removal in Removal::ALL {
        let sum = pipeline.removed()[removal];
        count(&mut family, &[("cause", removal.label())], sum)?;
    }
    Ok(())
}

pub(super) fn peers(
    rows: &Rows<'_>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_peer_cache_misses",
        "Offered sessions that were not resumed, per peer, by diagnosed reason.",
        None,
    )?;
    for (peer, role, sums) in rows {
        for reason in Reason::ALL {
            // Sparse, as failures are.
            let sum = sums.offers.misses[reason as usize];
            if sum > 0 {
                let labels = [
                    ("peer", peer.as_str()),
                    ("role", role.label()),
                    ("reason", reason.label()),
                ];
                count(&mut family, &labels, sum)?;
            }
        }
    }
    let mut family = gauge(
        encoder,
        "reprise_cache_miss_alert",
        "1 while most of a peer's recent offers are missed, with the commonest reason.",
    )?;
    for (peer, role, sums) in rows {
        if let Some(Topic::Missed(reason)) = sums.alert {
            let labels = [
                ("peer", peer.as_str()),
                ("role", role.label()),
                ("reason", reason.label()),
            ];
            set(&mut family, &labels, 1_u64)?;
        }
    }
    Ok(())
}
