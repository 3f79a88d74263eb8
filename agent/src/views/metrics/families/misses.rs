//! Families of missed sessions: reasons, removals, ticket keys, alerts.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{
    encode::{count, counter, gauge, set},
    peers::Row,
};
use reprise_core::{
    model::{Mechanism, MissReason, Role},
    pipeline::{
        Pipeline,
        stats::{AlertReason, Outcomes, Stats, TicketKeys},
    },
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
            for (reason, sum) in stats.misses[role][mechanism] {
                if sum > 0 || is_possible(mechanism, reason) {
                    let labels = [
                        ("role", role.label()),
                        ("mechanism", mechanism.label()),
                        ("reason", reason.label()),
                    ];
                    count(&mut family, labels, sum)?;
                }
            }
        }
    }
    ticket_keys(&stats.ticket_keys, encoder)
}

fn ticket_keys(keys: &TicketKeys, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_ticket_key_offers",
        "Tickets offered to servers here, by the key that encrypts them.",
        None,
    )?;
    let named = keys.named().into_iter();
    let named = named.map(|(key, sums)| (format!("{:08x}", key.get()), *sums));
    let other = Some(keys.other()).filter(|other| *other != Outcomes::default());
    for (key, sums) in named.chain(other.map(|other| ("other".to_owned(), other))) {
        for (outcome, sum) in [("accepted", sums.accepted), ("missed", sums.missed)] {
            count(
                &mut family,
                [("key", key.as_str()), ("outcome", outcome)],
                sum,
            )?;
        }
    }
    Ok(())
}

/// Whether the mechanism can miss for this reason: only tickets have keys.
const fn is_possible(mechanism: Mechanism, reason: MissReason) -> bool {
    use MissReason as Reason;
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
        "Sessions removed from a server's cache before their lifetime ended.",
        None,
    )?;
    for (removal, sum) in pipeline.removed() {
        count(&mut family, [("cause", removal.label())], *sum)?;
    }
    Ok(())
}

pub(super) fn changes(
    pipeline: &Pipeline,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_changes",
        "Changes after which the hit ratio of services can be another.",
        None,
    )?;
    for (kind, sum) in pipeline.changes().counts() {
        count(&mut family, [("kind", kind.label())], *sum)?;
    }
    Ok(())
}

pub(super) fn peers(rows: &[Row], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_peer_cache_misses",
        "Offered sessions that were not resumed, per peer, by diagnosed reason.",
        None,
    )?;
    for row in rows {
        let (peer, role) = (&row.peer, row.role);
        // Zeroes are left out: most peers have no misses.
        for (reason, sum) in &row.misses {
            let labels = [
                ("peer", peer.as_str()),
                ("role", role.label()),
                ("reason", reason.label()),
            ];
            count(&mut family, labels, *sum)?;
        }
    }
    let mut family = gauge(
        encoder,
        "reprise_cache_miss_alert",
        "1 while most of a peer's recent offers are missed, with the commonest reason.",
    )?;
    for row in rows {
        let (peer, role) = (&row.peer, row.role);
        if let Some(AlertReason::Missed(reason)) = row.alert {
            let labels = [
                ("peer", peer.as_str()),
                ("role", role.label()),
                ("reason", reason.label()),
            ];
            set(&mut family, labels, 1_u64)?;
        }
    }
    Ok(())
}
