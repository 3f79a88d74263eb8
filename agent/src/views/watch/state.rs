//! What the viewer chose, and the rows that follow from it. Pure: keys and sums in, rows out.

use std::cmp::Ordering;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::observed::Observed;
use reprise_core::model::{FailureCause as Cause, MissReason as Reason, Resumption, Role};
use reprise_core::pipeline::{
    advice::advice,
    stats::{PeerKey, PeerStats},
};

/// What the table is sorted by.
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
    /// In the order in which a key walks through them.
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

/// One peer, copied out from under the lock.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) key: PeerKey,
    pub(super) name: String,
    pub(super) sums: PeerStats,
    pub(super) recent: Option<f64>,
    /// Reason and remedy in words, where an alert stands.
    pub(super) advice: Option<String>,
}

impl Row {
    pub(super) fn full(&self) -> u64 {
        self.sums.completed[Resumption::Full as usize]
    }

    pub(super) fn resumed(&self) -> u64 {
        self.sums.completed[Resumption::Resumed as usize]
    }

    pub(super) fn failed(&self) -> u64 {
        self.sums.failures.iter().sum()
    }

    /// What is wrong with it, in a word: what its alert says, else why most of its offers are missed or its handshakes fail.
    pub(super) fn trouble(&self) -> &'static str {
        if let Some(topic) = self.sums.alert {
            return topic.label();
        }
        let misses = Reason::ALL.into_iter();
        let misses =
            misses.map(|reason| (self.sums.offers.misses[reason as usize], reason.label()));
        let causes = Cause::ALL.into_iter();
        let causes = causes.map(|cause| (self.sums.failures[cause as usize], cause.label()));
        let worst = misses.chain(causes).max_by_key(|(count, _)| *count);
        worst
            .filter(|(count, _)| *count > 0)
            .map_or("", |(_, label)| label)
    }

    fn activity(&self) -> u64 {
        self.sums.completed.iter().sum::<u64>() + self.failed()
    }
}

/// What a key asks for besides another picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Picture,
    End,
}

/// What the viewer chose.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sort: Column,
    pub(super) ascending: bool,
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) typing: bool,
    /// Both where there is none.
    pub(super) role: Option<Role>,
    pub(super) selected: usize,
    /// The peer shown in detail.
    pub(super) detail: Option<PeerKey>,
    /// Rows that a page key moves by; as many as fit, told by the view.
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
            page: 10,
        }
    }
}

impl State {
    /// Peers as chosen, in order.
    pub(super) fn rows(&self, observed: &Observed) -> Vec<Row> {
        let stats = &observed.pipeline.stats;
        let now_ns = observed.pipeline.now_ns();
        let wanted = self.filter.to_lowercase();
        let mut rows: Vec<_> = stats
            .peers
            .iter()
            .filter(|(key, _)| self.role.is_none_or(|role| role == key.role))
            .map(|(key, sums)| Row {
                key: key.clone(),
                name: key.peer.to_string(),
                sums: *sums,
                recent: stats.peers.ratio(sums, now_ns),
                advice: advice(&observed.pipeline, key, sums),
            })
            .filter(|row| {
                row.name.to_lowercase().contains(&wanted) || row.trouble().contains(&wanted)
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
            Column::Activity => left.activity().cmp(&right.activity()),
            Column::Peer => left.name.cmp(&right.name),
            Column::Full => left.full().cmp(&right.full()),
            Column::Resumed => left.resumed().cmp(&right.resumed()),
            // Nothing recent is neither good nor bad: last, whichever way.
            Column::Recent => match (left.recent, right.recent) {
                (Some(left), Some(right)) => left.total_cmp(&right),
                (left, right) if self.ascending => right.is_some().cmp(&left.is_some()),
                (left, right) => left.is_some().cmp(&right.is_some()),
            },
            Column::Failed => left.failed().cmp(&right.failed()),
        }
    }

    /// Takes a key; `rows` are those that were shown.
    pub(super) fn press(&mut self, key: KeyEvent, rows: &[Row]) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Wish::End;
        }
        if self.typing {
            match key.code {
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
            return Wish::Picture;
        }
        let last = rows.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') => return Wish::End,
            KeyCode::Esc if self.detail.is_none() => self.filter.clear(),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.detail = None,
            KeyCode::Enter | KeyCode::Right => {
                self.detail = match self.detail {
                    None => rows.get(self.selected).map(|row| row.key.clone()),
                    Some(_) => None,
                };
            }
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('s') => {
                let at = Column::ALL.iter().position(|column| *column == self.sort);
                let next = at.map_or(0, |at| at + 1) % Column::ALL.len();
                self.sort = Column::ALL[next];
                self.ascending = matches!(self.sort, Column::Peer | Column::Recent);
            }
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
        Wish::Picture
    }
}
