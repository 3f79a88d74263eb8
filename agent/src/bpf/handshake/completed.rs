//! Removes completed handshakes that are too old to be refused from the kernel's table.

use std::time::{Duration, Instant};

use aya::Ebpf;
use reprise_ebpf::completed::{Completed, WINDOW_NS};
use zerocopy::FromBytes as _;

use crate::bpf::{
    error::SensorError,
    hash_map::{Batch, HashMap},
};

/// Interval of the removals.
const INTERVAL: Duration = Duration::from_secs(10);

/// Handshakes that completed a moment ago.
pub(super) struct CompletedHandshakes {
    table: HashMap,
    swept: Instant,
}

impl CompletedHandshakes {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, SensorError> {
        Ok(Self {
            table: HashMap::take(ebpf, "HS_COMPLETED")?,
            swept: Instant::now(),
        })
    }

    /// Removes the old entries if that is due. `now_ns` is the kernel's time.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        if self.swept.elapsed() < INTERVAL {
            return;
        }
        self.swept = Instant::now();
        let mut batch = Batch::default();
        let mut reading = self.table.read();
        while reading.next(&mut batch) {
            for (key, value) in batch.entries() {
                let is_old = Completed::read_from_bytes(value)
                    .is_ok_and(|completed| now_ns.saturating_sub(completed.time_ns) > WINDOW_NS);
                if is_old {
                    self.table.remove(key);
                }
            }
        }
    }
}
