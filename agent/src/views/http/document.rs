//! The documents that are rendered from the observed state.

use std::{cmp::Reverse, fmt::Write as _};

use hyper::StatusCode;
use serde::Serialize;

use super::{failures, networks, overview, peers, rendering::Rendering, status};
use crate::{
    observed::{Observed, Shared},
    views::{
        changes,
        chunks::Chunks,
        metrics::{Format, Page},
        services,
    },
};
use reprise_core::pipeline::stats::PeerKey;

/// A document that is rendered from the observed state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    Metrics(Format),
    Ready,
    Overview,
    /// The peers with the most handshakes that were not resumed.
    Peers(PeerLimit),
    Libraries,
    Failures,
    Services,
    Changes,
    Networks,
    Status,
}

/// Number of listed peers. Requests for any number share a few renderings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerLimit {
    Hundred,
    Thousand,
    TenThousand,
    All,
}

impl PeerLimit {
    /// The smallest limit that includes `peers`.
    pub(super) const fn at_least(peers: usize) -> Self {
        match peers {
            0..=100 => Self::Hundred,
            101..=1_000 => Self::Thousand,
            1_001..=10_000 => Self::TenThousand,
            _ => Self::All,
        }
    }

    const fn peers(self) -> usize {
        match self {
            Self::Hundred => 100,
            Self::Thousand => 1_000,
            Self::TenThousand => 10_000,
            Self::All => usize::MAX,
        }
    }
}

impl Document {
    pub(super) const ALL: [Self; 14] = [
        Self::Metrics(Format::OpenMetrics),
        Self::Metrics(Format::Prometheus),
        Self::Ready,
        Self::Overview,
        Self::Peers(PeerLimit::Hundred),
        Self::Peers(PeerLimit::Thousand),
        Self::Peers(PeerLimit::TenThousand),
        Self::Peers(PeerLimit::All),
        Self::Libraries,
        Self::Failures,
        Self::Services,
        Self::Changes,
        Self::Networks,
        Self::Status,
    ];

    /// Whether size and cost grow with the number of peers.
    pub(super) const fn is_large(self) -> bool {
        matches!(self, Self::Metrics(_) | Self::Peers(_))
    }
}

/// Sources of the documents.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) shared: Shared,
    page: Page,
}

impl Site {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            page: Page::new(shared.clone(), true),
            shared,
        }
    }

    /// Renders a document. Takes up to some tenths of a second with a full table of peers.
    pub(super) fn render(&self, document: Document) -> Rendering {
        match document {
            Document::Metrics(format) => self.metrics(format),
            Document::Ready => ready(&self.shared.lock()),
            Document::Overview => json(&overview::overview(&self.shared.lock())),
            Document::Peers(limit) => self.peers(limit),
            Document::Libraries => json(&status::libraries(&self.shared.lock())),
            Document::Failures => json(&failures::failures(&self.shared.lock())),
            Document::Services => json(&services::list(&self.shared.lock())),
            Document::Changes => json(&changes::latest(&self.shared.lock().pipeline, usize::MAX)),
            Document::Networks => json(&networks::networks(&self.shared.lock())),
            Document::Status => json(&status::status(&self.shared.lock())),
        }
    }

    fn metrics(&self, format: Format) -> Rendering {
        let mut page = Chunks::default();
        match self.page.write(format, &mut page) {
            Ok(()) => Rendering::new(StatusCode::OK, format.content_type(), page),
            Err(error) => internal_error(&error.to_string()),
        }
    }

    fn peers(&self, limit: PeerLimit) -> Rendering {
        let keys = self.ranked(limit);
        let mut text = Chunks::default();
        let mut row_ends = Vec::with_capacity(keys.len());
        let mut written = Ok(());
        text.push(b"[");
        self.shared.for_each_peer(&keys, |observed, key, sums| {
            if !row_ends.is_empty() {
                text.push(b",");
            }
            if written.is_ok() {
                written = serde_json::to_writer(&mut text, &peers::row(observed, key, sums));
            }
            row_ends.push(text.len());
        });
        text.push(b"]");
        match written {
            Ok(()) => Rendering::new(StatusCode::OK, JSON, text).with_row_ends(row_ends),
            Err(error) => internal_error(&error.to_string()),
        }
    }

    /// The peers with the most handshakes that were not resumed, those with the most first; without
    /// a limit all peers, the most recently active first.
    fn ranked(&self, limit: PeerLimit) -> Vec<PeerKey> {
        let mut ranked: Vec<_> = {
            let observed = self.shared.lock();
            let peers = observed.pipeline.stats.peers.iter();
            peers
                .map(|(key, sums)| (peers::not_resumed(sums), key.clone()))
                .collect()
        };
        if limit != PeerLimit::All {
            ranked.sort_by_key(|(not_resumed, _)| Reverse(*not_resumed));
            ranked.truncate(limit.peers());
        }
        ranked.into_iter().map(|(_, key)| key).collect()
    }
}

/// `Content-Type` of JSON documents.
pub(super) const JSON: &str = "application/json";
/// `Content-Type` of text documents.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

fn json(value: &impl Serialize) -> Rendering {
    let mut text = Chunks::default();
    match serde_json::to_writer(&mut text, value) {
        Ok(()) => Rendering::new(StatusCode::OK, JSON, text),
        Err(error) => internal_error(&error.to_string()),
    }
}

/// A document that says why another one could not be rendered.
pub(super) fn internal_error(reason: &str) -> Rendering {
    line(StatusCode::INTERNAL_SERVER_ERROR, reason)
}

fn ready(observed: &Observed) -> Rendering {
    if let Some(reason) = observed.status.not_ready() {
        return line(StatusCode::SERVICE_UNAVAILABLE, &reason);
    }
    let libraries = observed.status.libraries.iter();
    let libraries = libraries.filter(|library| library.observed).count();
    let mut text = format!("ready, libraries observed: {libraries}");
    let unanswered = &observed.status.coverage.unanswered;
    if unanswered.inspections > 0 {
        let (count, examples) = (unanswered.inspections, unanswered.examples.join(", "));
        text += &format!("\nskipped because they do not answer: {count} ({examples})");
    }
    line(StatusCode::OK, &text)
}

fn line(status: StatusCode, text: &str) -> Rendering {
    let mut line = Chunks::default();
    // Writing to memory does not fail.
    let _ = writeln!(line, "{text}");
    Rendering::new(status, TEXT, line)
}
