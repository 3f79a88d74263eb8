//! Reading events: drained by polling, so that a busy host is not woken once per handshake.

use aya::maps::{MapData, RingBuf};

/// Events taken in one go; what is left waits for the next.
const BATCH: usize = 16_384;

/// One sensor's ring buffer.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    pub(super) const fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// Hands over the events that are there, at most a batch; `true` where more may be waiting.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) -> bool {
        for _ in 0..BATCH {
            match self.0.next() {
                Some(item) => take(&item),
                None => return false,
            }
        }
        true
    }
}
