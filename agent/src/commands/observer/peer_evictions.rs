//! A warning where many handshakes are those of peers beyond `--max-peers`.

use std::time::{Duration, Instant};

/// Handshakes after which the share of evictions is computed.
const SAMPLE: u64 = 200;
/// Percentage of evictions above which a warning is due. Where both ends of connections are on this
/// host, or a proxy connects to other servers, only half of the handshakes are those of servers.
const MANY: u64 = 25;
/// Least time between two warnings.
const REPEAT_AFTER: Duration = Duration::from_secs(3600);

/// Counts the evictions per handshake: a peer without an entry evicts another one with each
/// handshake.
#[derive(Debug, Default)]
pub(super) struct PeerEvictions {
    handshakes: u64,
    evicted: u64,
    warned: Option<Instant>,
}

impl PeerEvictions {
    /// Returns the share of the handshakes since the last sample whose peer had no entry, in
    /// percent, where a warning is due. `handshakes` and `evicted` are sums since the start.
    pub(super) fn share(&mut self, now: Instant, handshakes: u64, evicted: u64) -> Option<u64> {
        let new = handshakes.saturating_sub(self.handshakes);
        if new < SAMPLE {
            return None;
        }
        let percent = evicted.saturating_sub(self.evicted).saturating_mul(100) / new;
        self.handshakes = handshakes;
        self.evicted = evicted;
        let is_recent = |warned| now.saturating_duration_since(warned) < REPEAT_AFTER;
        if percent <= MANY || self.warned.is_some_and(is_recent) {
            return None;
        }
        self.warned = Some(now);
        Some(percent.min(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_begins_at_a_quarter_of_the_handshakes_and_is_repeated_once_an_hour() {
        let mut evictions = PeerEvictions::default();
        let now = Instant::now();
        assert_eq!(evictions.share(now, 199, 199), None, "too few");
        assert_eq!(evictions.share(now, 1_000, 250), None, "a quarter");
        assert_eq!(evictions.share(now, 2_000, 1_050), Some(80));
        assert_eq!(evictions.share(now, 3_000, 2_050), None, "repeated");
        assert_eq!(evictions.share(now + REPEAT_AFTER, 4_000, 3_050), Some(100));
    }
}
