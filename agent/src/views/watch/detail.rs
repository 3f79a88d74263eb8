//! The details of one peer.

use ratatui::{style::Modifier, text::Line};

use super::{row::Row, text::percent};
use crate::{observed::Observed, views::explanation};
use reprise_core::{
    model::{MissReason, Resumption},
    pipeline::{
        Pipeline, reasons,
        stats::{PeerKey, SessionsLost},
    },
};

/// Maximum number of failures shown.
const MAX_FAILURES: usize = 5;

/// The most recent events of a peer, one line each, copied so that the lock can be released.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Failed handshakes, the latest first.
    failures: Vec<String>,
    /// The newest miss with each of the commonest reasons.
    misses: Vec<(MissReason, String)>,
}

/// The most recent events of a peer.
pub(super) fn recent(observed: &Observed, peer: Option<&PeerKey>) -> Recent {
    peer.map_or_else(Recent::default, |key| Recent {
        failures: recent_failures(observed, key),
        misses: recent_misses(&observed.pipeline, key),
    })
}

fn recent_misses(pipeline: &Pipeline, key: &PeerKey) -> Vec<(MissReason, String)> {
    let stats = &pipeline.stats;
    let sums = stats.peers.get(key);
    let explanations = sums.map(|sums| stats.explanations(key, sums));
    let explanations = explanations.into_iter().flatten();
    explanations
        .map(|explanation| {
            let example = explanation.example.as_ref();
            (explanation.reason, explanation::example(pipeline, example))
        })
        .collect()
}

fn recent_failures(observed: &Observed, key: &PeerKey) -> Vec<String> {
    let now_ns = observed.pipeline.now_ns();
    let failures = observed.pipeline.stats.recent_failures.latest_first();
    let failures = failures.into_iter().filter(|failure| failure.peer == *key);
    let lines = failures.take(MAX_FAILURES).map(|failure| {
        let seconds = now_ns.saturating_sub(failure.time_ns) / 1_000_000_000;
        let reason = failure.reason.map_or_else(String::new, |reason| {
            format!(", {}", reasons::name(&observed.status.reasons, reason))
        });
        format!("{seconds} s ago: {}{reason}", failure.cause.label())
    });
    lines.collect()
}

/// Lines of name and value.
#[derive(Default)]
struct Lines(Vec<Line<'static>>);

impl Lines {
    fn add(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        self.0.push(Line::raw(format!("  {name:<22} {value}")));
    }

    /// Adds a count that is not 0.
    fn add_count(&mut self, name: &str, count: u64) {
        if count > 0 {
            self.add(name, count);
        }
    }
}

/// All that is known about one peer.
pub(super) fn detail(row: &Row, recent: &Recent) -> Vec<Line<'static>> {
    let mut lines = Lines::default();
    let title = format!("{} ({} here)", row.name, row.key.role.label());
    lines.0 = vec![
        Line::raw(""),
        Line::styled(title, Modifier::BOLD),
        Line::raw(""),
    ];
    lines.add("full handshakes", row.full());
    lines.add("resumed handshakes", row.resumed());
    lines.add_count(
        "resumption unknown",
        row.sums.completed[Resumption::Unknown],
    );
    lines.add("recent resumed share", percent(row.recent));
    offers(row, &recent.misses, &mut lines);
    loss(row, &mut lines);
    lines.add("failed handshakes", row.sums.failed());
    for (cause, count) in row.sums.failures {
        lines.add_count(&format!("  {}", cause.label()), count);
    }
    let failures = recent.failures.iter();
    lines
        .0
        .extend(failures.map(|failure| Line::raw(format!("    {failure}"))));
    if let Some(advice) = &row.advice {
        let text = Line::styled(advice.text.clone(), Modifier::BOLD);
        lines.0.extend([Line::raw(""), text]);
    }
    lines.0
}

fn offers(row: &Row, examples: &[(MissReason, String)], lines: &mut Lines) {
    let offers = &row.sums.offers;
    for (mechanism, outcomes) in offers.sums.offered {
        if outcomes.total() > 0 {
            let name = format!("offers by {}", mechanism.label());
            let mut text = format!("{} accepted, {} missed", outcomes.accepted, outcomes.missed);
            if outcomes.failed > 0 {
                text.push_str(&format!(", {} failed", outcomes.failed));
            }
            lines.add(&name, text);
        }
    }
    lines.add("without an offer", offers.sums.not_offered);
    for (reason, count) in offers.misses {
        lines.add_count(&format!("  {}", reason.label()), count);
        let example = examples.iter().find(|(other, _)| *other == reason);
        if let Some((_, text)) = example {
            lines.0.push(Line::raw(format!("    {text}")));
        }
    }
}

fn loss(row: &Row, lines: &mut Lines) {
    if row.sums.with_loss == 0 {
        return;
    }
    lines.add("with packet loss", row.sums.with_loss);
    let lost = row.sums.sessions_lost;
    if lost != SessionsLost::default() {
        let text = format!(
            "{} removed, {} never stored; {} offered again and missed",
            lost.forgotten, lost.never_stored, lost.missed
        );
        lines.add("  sessions lost by it", text);
    }
}
