//! The screen of the interactive table, for 80 columns and more.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row as Cells, Table, TableState, Wrap},
};

use super::{
    detail::{Recent, detail},
    row::Row,
    services::{self, ServiceLine},
    state::{Column, State},
    text::{percent, totals},
};
use crate::observed::Observed;

const KEYS: &str = "↑↓ Enter detail  v services  s sort  r reverse  t role  / filter  q quit";
const KEYS_OF_SERVICES: &str = "v peers  / filter  q quit";
const KEYS_OF_DETAIL: &str = "↑↓ select  Esc back  q quit";
const KEYS_OF_FILTER: &str = "type a part of a name or reason  Enter apply  Esc clear";

/// Lines above the table, copied so that the lock can be released.
pub(super) fn header(observed: &Observed) -> String {
    let mut text = totals(observed);
    let sensors = observed.status.sensors.iter();
    let missing = sensors.filter(|sensor| !sensor.attached);
    for reason in missing.filter_map(|sensor| sensor.reason.as_deref()) {
        text.push_str(&format!("not attached: {reason}\n"));
    }
    text
}

/// Draws the screen.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    state: &mut State,
    header: &str,
    rows: &[Row],
    services: &[ServiceLine],
    recent: &Recent,
) {
    let lines = u16::try_from(header.lines().count()).unwrap_or(u16::MAX);
    let [above, middle, below] = Layout::vertical([
        Constraint::Length(lines),
        Constraint::Min(3),
        Constraint::Length(2),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(header), above);
    let shown = state
        .detail
        .as_ref()
        .and_then(|key| rows.iter().find(|row| row.key == *key));
    match shown {
        Some(row) => frame.render_widget(
            Paragraph::new(detail(row, recent)).wrap(Wrap { trim: false }),
            middle,
        ),
        None if state.services => {
            let count = usize::from(middle.height.saturating_sub(2));
            frame.render_widget(services::table(services, count), middle);
        }
        None => table(frame, middle, state, rows),
    }
    let keys = match (state.typing, shown) {
        (true, _) => KEYS_OF_FILTER,
        (false, Some(_)) => KEYS_OF_DETAIL,
        (false, None) if state.services => KEYS_OF_SERVICES,
        (false, None) => KEYS,
    };
    let keys = Line::styled(keys, Modifier::DIM);
    frame.render_widget(
        Paragraph::new(vec![choices(state, rows.len(), services.len()), keys]),
        below,
    );
}

/// Line with the choices of the viewer.
fn choices(state: &State, peers: usize, services: usize) -> Line<'static> {
    let order = if state.ascending { "lowest" } else { "highest" };
    let role = state
        .role
        .map_or_else(String::new, |role| format!("  {} only", role.label()));
    let filter = match (state.typing, state.filter.is_empty()) {
        (true, _) => format!("  filter: {}_", state.filter),
        (false, true) => String::new(),
        (false, false) => format!("  filter: {}", state.filter),
    };
    let sort = state.sort.label();
    let shown = if state.services {
        format!("{services} services, the busiest first")
    } else {
        format!("{peers} peers  by {sort} ({order} first){role}")
    };
    Line::from(vec![Span::raw(shown), Span::styled(filter, Modifier::BOLD)])
}

fn table(frame: &mut Frame<'_>, area: Rect, state: &mut State, rows: &[Row]) {
    state.page = usize::from(area.height.saturating_sub(2)).max(1);
    // Only visible rows are laid out.
    let first = state.selected.saturating_sub(state.page.saturating_sub(1));
    let visible = rows.iter().skip(first).take(state.page);
    let widths = [
        Constraint::Min(20),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(14),
    ];
    let table = Table::new(visible.map(cells), widths)
        .header(headings(state.sort).top_margin(1))
        .row_highlight_style(Modifier::REVERSED);
    let mut position = TableState::new().with_selected(Some(state.selected - first));
    frame.render_stateful_widget(table, area, &mut position);
}

fn headings(sort: Column) -> Cells<'static> {
    let text = |name| Cell::new(Line::styled(name, Modifier::BOLD));
    let number = |name, column| {
        let style = if column == sort {
            Modifier::BOLD | Modifier::UNDERLINED
        } else {
            Modifier::BOLD
        };
        Cell::new(Line::styled(name, style).right_aligned())
    };
    let peer = if sort == Column::Peer {
        Cell::new(Line::styled("PEER", Modifier::BOLD | Modifier::UNDERLINED))
    } else {
        text("PEER")
    };
    Cells::new([
        peer,
        text("ROLE"),
        number("FULL", Column::Full),
        number("RESUMED", Column::Resumed),
        number("RECENT", Column::Recent),
        number("FAILED", Column::Failed),
        text("PROBLEM"),
    ])
}

fn cells(row: &Row) -> Cells<'static> {
    let number = |value: u64| Cell::new(Line::raw(value.to_string()).right_aligned());
    let recent = Line::styled(percent(row.recent), grade(row.recent)).right_aligned();
    Cells::new([
        Cell::new(row.name.clone()),
        Cell::new(row.key.role.label()),
        number(row.full()),
        number(row.resumed()),
        Cell::new(recent),
        number(row.sums.failed()),
        Cell::new(row.problem()),
    ])
}

/// Colour of a resumed share.
fn grade(ratio: Option<f64>) -> Style {
    match ratio {
        None => Style::new(),
        Some(ratio) if ratio < 0.10 => Style::new().fg(Color::Red),
        Some(ratio) if ratio < 0.40 => Style::new().fg(Color::Yellow),
        Some(ratio) if ratio < 0.75 => Style::new().fg(Color::Green),
        Some(_) => Style::new().fg(Color::Blue),
    }
}
