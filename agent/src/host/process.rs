//! Liveness of processes.

/// Whether a process still runs.
#[must_use]
pub(crate) fn is_alive(tgid: u32) -> bool {
    // A zombie still has this file, although its memory and sockets are gone. The state is the
    // first letter after the name, which is in parentheses.
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{tgid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X'))
}
