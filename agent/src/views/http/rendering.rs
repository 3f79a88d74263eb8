//! Renderings of documents, each shared by all the responses that wait for it.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use hyper::StatusCode;

use crate::views::chunks::{CHUNK, Chunks};

/// Maximum size of the renderings that responses still send when another one is made, together with
/// the expected size of the new one, bytes.
pub(super) const MAX_BYTES: usize = 32 << 20;

/// One rendering of a document.
#[derive(Debug)]
pub(super) struct Rendering {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    /// Size, bytes.
    pub(super) len: usize,
    /// Ends of the rows of a JSON array, bytes from the start; empty for other documents.
    pub(super) row_ends: Vec<usize>,
    /// Empty after [`Self::discard`].
    chunks: Mutex<Vec<Bytes>>,
}

impl Rendering {
    pub(super) fn new(status: StatusCode, content_type: &'static str, text: Chunks) -> Self {
        Self {
            status,
            content_type,
            len: text.len(),
            row_ends: Vec::new(),
            chunks: Mutex::new(text.finish()),
        }
    }

    /// Adds the ends of the rows of a JSON array.
    pub(super) fn with_row_ends(mut self, row_ends: Vec<usize>) -> Self {
        self.row_ends = row_ends;
        self
    }

    /// A copy of at most `max` bytes from `start` on; `None` at the end and if the rendering was
    /// discarded.
    pub(super) fn part(&self, start: usize, max: usize) -> Option<Bytes> {
        let chunks = self.lock();
        let rest = chunks.get(start / CHUNK)?.get(start % CHUNK..)?;
        let part = rest.get(..max).unwrap_or(rest);
        (!part.is_empty()).then(|| Bytes::copy_from_slice(part))
    }

    /// Releases the memory. Responses that have not sent everything are aborted.
    fn discard(&self) {
        drop(mem::take(&mut *self.lock()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Bytes>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The renderings that responses still send.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<Vec<Weak<Rendering>>>);

impl InFlight {
    /// Discards renderings, the oldest first, until there is space for one of `expected` bytes.
    /// A client that does not read therefore costs a connection and not a rendering.
    pub(super) fn make_space(&self, expected: usize) {
        let mut oldest_first = self.lock();
        let live: Vec<_> = oldest_first.iter().filter_map(Weak::upgrade).collect();
        *oldest_first = live.iter().map(Arc::downgrade).collect();
        let mut bytes: usize = live.iter().map(|rendering| rendering.len).sum();
        let mut discarded = 0;
        for rendering in &live {
            if bytes + expected <= MAX_BYTES {
                break;
            }
            rendering.discard();
            bytes -= rendering.len;
            discarded += 1;
        }
        oldest_first.drain(..discarded);
        drop(oldest_first);
        if discarded > 0 {
            tracing::debug!(discarded, "responses of slow http clients aborted");
        }
    }

    /// Adds the newest rendering.
    pub(super) fn add(&self, rendering: &Arc<Rendering>) {
        self.lock().push(Arc::downgrade(rendering));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Rendering>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendering(bytes: usize) -> Arc<Rendering> {
        let mut text = Chunks::default();
        text.push(&vec![b'x'; bytes]);
        Arc::new(Rendering::new(StatusCode::OK, "text/plain", text))
    }

    #[test]
    fn the_oldest_renderings_are_discarded_for_a_new_one() {
        let in_flight = InFlight::default();
        let third = MAX_BYTES / 3;
        let held = [0, 1, 2].map(|_| {
            let rendering = rendering(third);
            in_flight.add(&rendering);
            rendering
        });
        let readable =
            |held: &[Arc<Rendering>; 3]| [0, 1, 2].map(|at| held[at].part(0, 1).is_some());
        in_flight.make_space(1);
        assert_eq!(readable(&held), [true; 3]);
        in_flight.make_space(third + 9);
        assert_eq!(readable(&held), [false, false, true]);
        let [.., newest] = held;
        drop(newest);
        in_flight.make_space(MAX_BYTES);
        assert!(in_flight.lock().is_empty(), "dropped ones take no space");
    }
}
