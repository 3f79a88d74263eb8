//! The picture on a terminal, readable from 80 columns on.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row as Cells, Table, TableState, Wrap},
};

use super::{
    percent,
    state::{Column, Row, State},
    totals,
};
use crate::observed::Observed;
use reprise_core::model::{FailureCause as Cause, Mechanism, MissReason as Reason, Resumption};
use reprise_core::pipeline::{reasons, stats::SessionsLost};

/// Failures shown of one peer.
const LATELY: usize = 5;
const KEYS: &str = "↑↓ select  Enter detail  s sort  r reverse  t role  / filter  q quit";
const KEYS_OF_DETAIL: &str = "↑↓ another peer  Esc back  q quit";
const KEYS_OF_FILTER: &str = "type what to look for  Enter keep  Esc clear";

/// The latest failures of the peer shown in detail, each in a line, copied out from under the lock.
pub(super) fn lately(observed: &Observed, state: &State) -> Vec<String> {
    let Some(key) = &state.detail else {
        return Vec::new();
    };
    let now_ns = observed.pipeline.now_ns();
    let failures = observed.pipeline.stats.lately.iter();
    failures
        .filter(|failure| failure.peer == *key)
        .take(LATELY)
        .map(|failure| {
            let ago = now_ns.saturating_sub(failure.time_ns) / 1_000_000_000;
            let reason = match failure.reason {
                0 => String::new(),
                reason => format!(", {}", reasons::name(&observed.status.reasons, reason)),
            };
            format!("{ago} s ago: {}{reason}", failure.cause.label())
        })
        .collect()
}

/// Lines over the table, copied out from under the lock.
pub(super) fn head(observed: &Observed) -> String {
    let mut text = totals(observed);
    let sensors = observed.status.sensors.iter();
    for reason in sensors
        .filter(|sensor| !sensor.attached)
        .filter_map(|sensor| sensor.reason.as_deref())
    {
        text.push_str(&format!("not attached: {reason}\n"));
    }
    text
}

/// Draws everything.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    state: &mut State,
    head: &str,
    rows: &[Row],
    lately: &[String],
) {
    let lines = u16::try_from(head.lines().count()).unwrap_or(u16::MAX);
    let [above, middle, below] = Layout::vertical([
        Constraint::Length(lines),
        Constraint::Min(3),
        Constraint::Length(2),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(head), above);
    let shown = state
        .detail
        .as_ref()
        .and_then(|key| rows.iter().find(|row| row.key == *key));
    match shown {
        Some(row) => frame.render_widget(
            Paragraph::new(detail(row, lately)).wrap(Wrap { trim: false }),
            middle,
        ),
        None => table(frame, middle, state, rows),
    }
    let keys = match (state.typing, shown) {
        (true, _) => KEYS_OF_FILTER,
        (false, Some(_)) => KEYS_OF_DETAIL,
        (false, None) => KEYS,
    };
    let chosen = Line::from(vec![
        Span::raw(format!("{} peers", rows.len())),
        Span::raw(format!("  by {}", state.sort.label())),
        Span::raw(if state.ascending {
            " (lowest first)"
        } else {
            " (highest first)"
        }),
        Span::raw(
            state
                .role
                .map_or(String::new(), |role| format!("  {} only", role.label())),
        ),
        match (state.typing, state.filter.is_empty()) {
            (true, _) => Span::styled(format!("  filter: {}_", state.filter), Modifier::BOLD),
            (false, true) => Span::raw(""),
            (false, false) => Span::styled(format!("  filter: {}", state.filter), Modifier::BOLD),
        },
    ]);
    let keys = Line::styled(keys, Modifier::DIM);
    frame.render_widget(Paragraph::new(vec![chosen, keys]), below);
}

fn table(frame: &mut Frame<'_>, area: Rect, state: &mut State, rows: &[Row]) {
    state.page = usize::from(area.height.saturating_sub(2)).max(1);
    let heads = [
        ("PEER", Column::Peer),
        ("ROLE", Column::Activity),
        ("FULL", Column::Full),
        ("RESUMED", Column::Resumed),
        ("RECENT", Column::Recent),
        ("FAILED", Column::Failed),
        ("TROUBLE", Column::Activity),
    ]
    .map(|(name, column)| {
        let sorted = column == state.sort && column != Column::Activity;
        let style = if sorted {
            Modifier::BOLD | Modifier::UNDERLINED
        } else {
            Modifier::BOLD
        };
        let line = Line::styled(name, style);
        Cell::new(if matches!(name, "PEER" | "ROLE" | "TROUBLE") {
            line
        } else {
            line.right_aligned()
        })
    });
    // What cannot be seen is not laid out.
    let from = state.selected.saturating_sub(state.page.saturating_sub(1));
    let visible = rows.iter().skip(from).take(state.page);
    let body = visible.map(|row| {
        let number = |value: u64| Cell::new(Line::raw(value.to_string()).right_aligned());
        let recent = Line::styled(percent(row.recent), grade(row.recent)).right_aligned();
        Cells::new([
            Cell::new(row.name.clone()),
            Cell::new(row.key.role.label()),
            number(row.full()),
            number(row.resumed()),
            Cell::new(recent),
            number(row.failed()),
            Cell::new(row.trouble()),
        ])
    });
    let widths = [
        Constraint::Min(20),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(14),
    ];
    let table = Table::new(body, widths)
        .header(Cells::new(heads).top_margin(1))
        .row_highlight_style(Modifier::REVERSED);
    let mut position = TableState::new().with_selected(Some(state.selected - from));
    frame.render_stateful_widget(table, area, &mut position);
}

/// Everything that is known of one peer.
fn detail(row: &Row, lately: &[String]) -> Vec<Line<'static>> {
    let mut lines = vec![
        Line::raw(""),
        Line::styled(
            format!("{} ({} here)", row.name, row.key.role.label()),
            Modifier::BOLD,
        ),
        Line::raw(""),
    ];
    let mut say =
        |name: &str, value: String| lines.push(Line::raw(format!("  {name:<22} {value}")));
    say("completed in full", row.full().to_string());
    say("resumed", row.resumed().to_string());
    let unknown = row.sums.completed[Resumption::Unknown as usize];
    if unknown > 0 {
        say("not known which", unknown.to_string());
    }
    say("recent share resumed", percent(row.recent));
    for mechanism in Mechanism::ALL {
        let [accepted, missed] = row.sums.offers.offered[mechanism as usize];
        if accepted + missed > 0 {
            let name = format!("offers by {}", mechanism.label());
            say(&name, format!("{accepted} accepted, {missed} missed"));
        }
    }
    say("without an offer", row.sums.offers.not_offered.to_string());
    for reason in Reason::ALL {
        let count = row.sums.offers.misses[reason as usize];
        if count > 0 {
            say(&format!("  {}", reason.label()), count.to_string());
        }
    }
    let sums = &row.sums;
    if sums.with_loss > 0 {
        say("met packet loss", sums.with_loss.to_string());
        let lost = sums.sessions_lost;
        if lost != SessionsLost::default() {
            let (never, forgotten) = (lost.never_stored, lost.forgotten);
            say(
                "  sessions lost by it",
                format!(
                    "{forgotten} forgotten, {never} never stored; {} offered again in vain",
                    lost.missed
                ),
            );
        }
    }
    say("failed", row.failed().to_string());
    for cause in Cause::ALL {
        let count = row.sums.failures[cause as usize];
        if count > 0 {
            say(&format!("  {}", cause.label()), count.to_string());
        }
    }
    lines.extend(
        lately
            .iter()
            .map(|failure| Line::raw(format!("    {failure}"))),
    );
    if let Some(advice) = &row.advice {
        lines.extend([Line::raw(""), Line::styled(advice.clone(), Modifier::BOLD)]);
    }
    lines
}

/// Colours of a resumed share; the number says the same without them.
fn grade(ratio: Option<f64>) -> Style {
    match ratio {
        None => Style::new(),
        Some(ratio) if ratio < 0.10 => Style::new().fg(Color::Red),
        Some(ratio) if ratio < 0.40 => Style::new().fg(Color::Yellow),
        Some(ratio) if ratio < 0.75 => Style::new().fg(Color::Green),
        Some(_) => Style::new().fg(Color::Blue),
    }
}
