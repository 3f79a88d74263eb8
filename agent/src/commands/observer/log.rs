//! Log messages about failures and alerts, and a limit of repeated ones.

use std::time::{Duration, Instant};

use enum_map::EnumMap;

use super::peer_evictions::PeerEvictions;
use crate::views::changes;
use reprise_core::pipeline::{
    Pipeline,
    advice::advice,
    reasons::FailureEntry,
    stats::{AlertChange, AlertReason},
};

/// Maximum number of alert messages per sweep.
const MAX_ALERTS: usize = 10;

/// Maximum number of messages about changes per sweep.
const MAX_CHANGES: usize = 10;

/// Maximum number of messages about libraries per interval.
const MAX_LIBRARY_MESSAGES: u64 = 30;
const LIMIT_INTERVAL: Duration = Duration::from_secs(60);

/// Limits the messages about libraries that appear and disappear, as with short-lived containers:
/// beyond a number per minute, messages are only counted.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    begin: Option<Instant>,
    messages: u64,
}

impl LogLimit {
    /// Whether a message is written; counts it.
    pub(super) fn allows(&mut self) -> bool {
        let suppressed = self.restart(Instant::now());
        if suppressed > 0 {
            tracing::info!(
                messages = suppressed,
                "further libraries were attached or detached in the last minute"
            );
        }
        self.messages += 1;
        self.messages <= MAX_LIBRARY_MESSAGES
    }

    /// Begins the next interval when it is due; returns the number of messages that were suppressed
    /// in the last one.
    fn restart(&mut self, now: Instant) -> u64 {
        let is_due = |begin| now.saturating_duration_since(begin) >= LIMIT_INTERVAL;
        if !self.begin.is_none_or(is_due) {
            return 0;
        }
        self.begin = Some(now);
        let messages = std::mem::take(&mut self.messages);
        messages.saturating_sub(MAX_LIBRARY_MESSAGES)
    }
}

/// Logs failures with one error reason: a warning if there is advice, because clients without a
/// session succeed then.
pub(super) fn failures(entry: &FailureEntry) {
    let FailureEntry {
        role,
        reason,
        failures,
        advice,
    } = entry;
    let role = role.label();
    match advice {
        Some(advice) => tracing::warn!(
            role,
            reason,
            failures,
            advice,
            "handshakes fail because they try to resume"
        ),
        None => tracing::info!(role, reason, failures, "handshakes fail"),
    }
}

/// Begins and ends alerts, and logs each change.
pub(super) fn alerts(pipeline: &mut Pipeline) {
    let now_ns = pipeline.now_ns();
    let changes = pipeline.stats.peers.update_alerts(now_ns);
    let more = changes.len().saturating_sub(MAX_ALERTS);
    for AlertChange { key, before, after } in changes.into_iter().take(MAX_ALERTS) {
        let (peer, role) = (&key.peer, key.role.label());
        if let Some(reason) = after {
            let sums = pipeline.stats.peers.get(&key);
            let advice = sums.and_then(|sums| advice(pipeline, &key, sums));
            let advice = advice.map_or_else(String::new, |advice| advice.text);
            let reason = reason.label();
            let change = sums.and_then(|sums| changes::preceding(pipeline, sums));
            tracing::warn!(%peer, role, reason, advice, change, "sessions are not resumed");
        } else {
            let reason = before.map_or("", AlertReason::label);
            tracing::info!(%peer, role, reason, "alert ended");
        }
    }
    if more > 0 {
        tracing::warn!(more, "further alerts began or ended");
    }
}

/// Logs the changes since the first `logged` ones, and counts them.
pub(super) fn changes(pipeline: &Pipeline, logged: &mut u64) {
    let new = pipeline.changes().total() - *logged;
    *logged += new;
    let count = usize::try_from(new).unwrap_or(usize::MAX);
    for row in changes::latest(pipeline, count.min(MAX_CHANGES))
        .iter()
        .rev()
    {
        let service = row.service.as_ref();
        let workload = service.map(|service| tracing::field::display(&service.owner));
        let port = service.and_then(|service| service.port);
        tracing::info!(kind = row.kind, workload, port, "{}", row.text);
    }
    if count > MAX_CHANGES {
        tracing::info!(more = count - MAX_CHANGES, "further changes");
    }
}

/// Warns where many handshakes are those of peers beyond `--max-peers`.
pub(super) fn peer_evictions(pipeline: &Pipeline, evictions: &mut PeerEvictions) {
    let stats = &pipeline.stats;
    let completed = stats.handshakes.values().flat_map(EnumMap::values);
    let completed: u64 = completed.flat_map(EnumMap::values).sum();
    let failed = stats.failures.values().flat_map(EnumMap::values);
    let handshakes = completed + failed.sum::<u64>();
    if let Some(percent) = evictions.share(Instant::now(), handshakes, stats.peers.evicted()) {
        let named = stats.peers.len();
        tracing::warn!(
            percent,
            named,
            remedy = "raise --max-peers, truncate addresses with --peer-prefix-v4 and \
                      --peer-prefix-v6, or name networks in a --peer-file",
            "many handshakes are counted as peer=\"other\""
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_beyond_the_limit_are_counted() {
        let mut limit = LogLimit::default();
        let written = (0..10_000).filter(|_| limit.allows()).count() as u64;
        assert_eq!(written, MAX_LIBRARY_MESSAGES);
        let later = Instant::now() + LIMIT_INTERVAL;
        assert_eq!(limit.restart(later), 10_000 - MAX_LIBRARY_MESSAGES);
        assert!(limit.allows());
        assert_eq!(limit.restart(later + LIMIT_INTERVAL), 0);
    }
}
