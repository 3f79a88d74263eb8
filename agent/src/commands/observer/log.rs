//! Log messages about failures and alerts.

use reprise_core::pipeline::{
    Pipeline,
    advice::advice,
    reasons::FailureEntry,
    stats::{AlertChange, AlertReason},
};

/// Maximum number of alert messages per sweep.
const MAX_ALERTS: usize = 10;

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
            tracing::warn!(%peer, role, reason, advice, "sessions are not resumed");
        } else {
            let reason = before.map_or("", AlertReason::label);
            tracing::info!(%peer, role, reason, "alert ended");
        }
    }
    if more > 0 {
        tracing::warn!(more, "further alerts began or ended");
    }
}
