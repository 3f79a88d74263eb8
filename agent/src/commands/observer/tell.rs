//! What the observer says in the log: failures that can be helped, alerts that begin and end.

use reprise_core::pipeline::{
    Pipeline,
    advice::advice,
    reasons,
    stats::{Change, Topic},
};

/// Alerts told in one line each, of those that begin and end within one sweep.
const MAX_TOLD: usize = 10;

/// What fails a handshake is the log's concern only where it can be helped: who offers no session gets through.
pub(super) fn failures(line: &reasons::Line) {
    let reasons::Line {
        role,
        reason,
        failures,
        advice,
    } = line;
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

/// One line for each alert that began or ended.
pub(super) fn alerts(pipeline: &mut Pipeline) {
    let changes = pipeline.stats.peers.judge(pipeline.now_ns());
    let more = changes.len().saturating_sub(MAX_TOLD);
    for Change { key, before, after } in changes.into_iter().take(MAX_TOLD) {
        let (peer, role) = (&key.peer, key.role.label());
        match (before, after) {
            (_, Some(topic)) => {
                let sums = pipeline.stats.peers.get(&key);
                let advice = sums.and_then(|sums| advice(pipeline, &key, sums));
                let (reason, advice) = (topic.label(), advice.unwrap_or_default());
                tracing::warn!(%peer, role, reason, advice, "sessions are not resumed");
            }
            (before, None) => {
                let reason = before.map_or("", Topic::label);
                tracing::info!(%peer, role, reason, "sessions are resumed again, or no more offered");
            }
        }
    }
    if more > 0 {
        tracing::warn!(more, "further peers began or ceased to miss their sessions");
    }
}
