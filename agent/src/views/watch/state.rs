//! Choices of the viewer, and the rows that follow from them. Pure: keys and sums in, rows out.

use std::cmp::Ordering;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::row::Row;
use crate::observed::Observed;
use reprise_core::{model::Role, pipeline::stats::PeerKey};

/// Column by which the table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Activity,
    Peer,
    Full,
    Resumed,
    Recent,
    Failed,
}

impl Column {
    /// Every column, in the order in which a key selects them.
    const ALL: [Self; 6] = [
        Self::Activity,
        Self::Full,
        Self::Resumed,
        Self::Recent,
        Self::Failed,
        Self::Peer,
    ];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Activity => "activity",
            Self::Peer => "peer",
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Recent => "recent",
            Self::Failed => "failed",
        }
    }
}

/// What the program does after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Redraw,
    Quit,
}

/// Choices of the viewer.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sort: Column,
    pub(super) ascending: bool,
    pub(super) filter: String,
    /// Whether keys edit the filter.
    pub(super) typing: bool,
    /// Role of the peers shown; `None` for both.
    pub(super) role: Option<Role>,
    pub(super) selected: usize,
    /// Peer whose details are shown.
    pub(super) detail: Option<PeerKey>,
    /// Whether services are shown instead of peers.
    pub(super) services: bool,
    /// Rows of a page; the view sets it to the number of rows that fit.
    pub(super) page: usize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            sort: Column::Activity,
            ascending: false,
            filter: String::new(),
            typing: false,
            role: None,
            selected: 0,
            detail: None,
            services: false,
            page: 10,
        }
    }
}

impl State {
    /// Rows of the chosen peers, in order.
    pub(super) fn rows(&self, observed: &Observed) -> Vec<Row> {
        let stats = &observed.pipeline.stats;
        let wanted = self.filter.to_lowercase();
        let mut rows: Vec<_> = stats
            .peers
            .iter()
            .filter(|(key, _)| self.role.is_none_or(|role| role == key.role))
            .map(|(key, sums)| Row::new(observed, key, sums))
            .filter(|row| {
                row.name.to_lowercase().contains(&wanted) || row.problem().contains(&wanted)
            })
            .collect();
        rows.sort_unstable_by(|left, right| {
            let order = self.compare(left, right);
            let order = if self.ascending {
                order
            } else {
                order.reverse()
            };
            order.then_with(|| (&left.name, left.key.role).cmp(&(&right.name, right.key.role)))
        });
        rows
    }

    fn compare(&self, left: &Row, right: &Row) -> Ordering {
        match self.sort {
            Column::Activity => left.sums.ended().cmp(&right.sums.ended()),
            Column::Peer => left.name.cmp(&right.name),
            Column::Full => left.full().cmp(&right.full()),
            Column::Resumed => left.resumed().cmp(&right.resumed()),
            // Peers without a recent handshake are last in either direction.
            Column::Recent => match (left.recent, right.recent) {
                (Some(left), Some(right)) => left.total_cmp(&right),
                (left, right) if self.ascending => right.is_some().cmp(&left.is_some()),
                (left, right) => left.is_some().cmp(&right.is_some()),
            },
            Column::Failed => left.sums.failed().cmp(&right.sums.failed()),
        }
    }

    /// Handles a key; `rows` are the rows on the screen.
    pub(super) fn press(&mut self, key: KeyEvent, rows: &[Row]) -> Request {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Request::Quit;
        }
        if self.typing {
            self.edit_filter(key.code);
            return Request::Redraw;
        }
        let last = rows.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') => return Request::Quit,
            KeyCode::Esc if self.detail.is_none() => self.filter.clear(),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.detail = None,
            KeyCode::Enter | KeyCode::Right if !self.services => {
                self.detail = match self.detail {
                    None => rows.get(self.selected).map(|row| row.key.clone()),
                    Some(_) => None,
                };
            }
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('v') => {
                self.services = !self.services;
                self.detail = None;
            }
            // The other keys select peers.
            _ if self.services => {}
            KeyCode::Char('s') => self.sort_by_next_column(),
            KeyCode::Char('r') => self.ascending = !self.ascending,
            KeyCode::Char('t') => {
                self.role = match self.role {
                    None => Some(Role::Server),
                    Some(Role::Server) => Some(Role::Client),
                    Some(Role::Client) => None,
                };
            }
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.selected += 1,
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(self.page),
            KeyCode::PageDown => self.selected += self.page,
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = last,
            _ => {}
        }
        self.selected = self.selected.min(last);
        Request::Redraw
    }

    fn edit_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) if self.filter.len() < 64 => self.filter.push(character),
            _ => {}
        }
        self.selected = 0;
    }

    fn sort_by_next_column(&mut self) {
        let at = Column::ALL.iter().position(|column| *column == self.sort);
        let next = at.map_or(0, |at| at + 1) % Column::ALL.len();
        self.sort = Column::ALL[next];
        self.ascending = matches!(self.sort, Column::Peer | Column::Recent);
    }
}
