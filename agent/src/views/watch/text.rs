//! The table as text, 80 columns wide.

use std::{cmp::Reverse, fmt::Write as _};

use enum_map::EnumMap;

use crate::observed::Observed;
use reprise_core::{
    model::{FailureCause, MissReason, Resumption, Role},
    pipeline::stats::Stats,
};

/// Totals over all peers, one line per role.
pub(super) fn totals(observed: &Observed) -> String {
    let Observed { pipeline, status } = observed;
    let mut text = String::new();
    let libraries = status.libraries.iter();
    let libraries = libraries.filter(|library| library.observed).count();
    let lost: u64 = status.sensors.iter().map(|health| health.lost).sum();
    let _ = writeln!(
        text,
        "reprise: libraries observed {libraries}, open handshakes {}, events lost {lost}",
        status.open_handshakes
    );
    for role in Role::ALL {
        role_totals(&pipeline.stats, role, &mut text);
    }
    text
}

fn role_totals(stats: &Stats, role: Role, text: &mut String) {
    let versions = &stats.handshakes[role];
    let sum = |resumption| -> u64 { versions.values().map(|sums| sums[resumption]).sum() };
    let (full, resumed) = (sum(Resumption::Full), sum(Resumption::Resumed));
    let unknown = match sum(Resumption::Unknown) {
        0 => String::new(),
        unknown => format!("  unknown {unknown}"),
    };
    let failed: u64 = stats.failures[role].values().sum();
    let with_loss = stats.with_loss[role].completed + stats.with_loss[role].failed;
    let _ = writeln!(
        text,
        "{:<7} full {full:<8} resumed {resumed:<8} {:>4}  failed {failed:<7} with loss {with_loss}{unknown}",
        role.label(),
        percent(share(resumed, full + resumed)),
    );
}

/// Totals, then at most `rows` peers, those with the most handshakes first.
#[must_use]
pub fn table(observed: &Observed, rows: usize) -> String {
    let pipeline = &observed.pipeline;
    let stats = &pipeline.stats;
    let mut text = totals(observed);
    let _ = writeln!(
        text,
        "\n{:<34} {:<6} {:>8} {:>8} {:>6} {:>6} CAUSE",
        "PEER", "ROLE", "FULL", "RESUMED", "RECENT", "FAILED"
    );
    let mut peers: Vec<_> = stats.peers.iter().collect();
    peers.sort_by_cached_key(|(key, sums)| (Reverse(sums.ended()), key.peer.to_string()));
    let more = peers.len().saturating_sub(rows);
    for (key, sums) in peers.into_iter().take(rows) {
        let ratio = percent(stats.peers.ratio(sums, pipeline.now_ns()));
        let failed = sums.failed();
        let cause = FailureCause::ALL
            .into_iter()
            .max_by_key(|cause| sums.failures[*cause])
            .filter(|_| failed > 0)
            .map_or("", FailureCause::label);
        let _ = writeln!(
            text,
            "{:<34} {:<6} {:>8} {:>8} {ratio:>6} {failed:>6} {cause}",
            key.peer.to_string(),
            key.role.label(),
            sums.completed[Resumption::Full],
            sums.completed[Resumption::Resumed],
        );
    }
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
    text
}

/// Share of a part, 0 to 1; `None` of nothing.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The commonest miss reason or failure cause; empty without any.
pub(super) fn commonest_problem(
    misses: &EnumMap<MissReason, u64>,
    failures: &EnumMap<FailureCause, u64>,
) -> &'static str {
    let misses = misses.into_iter();
    let misses = misses.map(|(reason, count)| (*count, reason.label()));
    let failures = failures.into_iter();
    let failures = failures.map(|(cause, count)| (*count, cause.label()));
    let commonest = misses.chain(failures).max_by_key(|(count, _)| *count);
    commonest
        .filter(|(count, _)| *count > 0)
        .map_or("", |(_, label)| label)
}

/// A share of 0 to 1 in percent; a dash for none.
pub(super) fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0}%", ratio * 100.0))
}
