//! Text in chunks: a large document does not move while it grows, is shared by all its readers
//! without a copy, and returns its memory to the system when the last reader ends.

use std::{fmt, io, mem};

use bytes::Bytes;

/// Size of a full chunk, bytes. The allocator maps blocks of this size individually (see
/// [`crate::memory`]), so that they do not stay with the agent.
pub(super) const CHUNK: usize = 128 << 10;

/// A text under construction.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    full: Vec<Bytes>,
    last: Vec<u8>,
}

impl Chunks {
    /// Number of bytes so far.
    pub(super) fn len(&self) -> usize {
        self.full.len() * CHUNK + self.last.len()
    }

    /// The chunks; all but the last one have [`CHUNK`] bytes.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        if !self.last.is_empty() {
            self.full.push(self.last.into());
        }
        self.full
    }

    /// Appends bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while bytes.len() > CHUNK - self.last.len() {
            let (head, tail) = bytes.split_at(CHUNK - self.last.len());
            self.last.extend_from_slice(head);
            bytes = tail;
            let full = mem::replace(&mut self.last, Vec::with_capacity(CHUNK));
            self.full.push(full.into());
        }
        self.last.extend_from_slice(bytes);
    }
}

impl fmt::Write for Chunks {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl io::Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_kept_in_order_over_chunk_boundaries() {
        let text: Vec<u8> = (0..3 * CHUNK + 7).map(|at| (at % 251) as u8).collect();
        for step in [1_000, CHUNK, 2 * CHUNK + 1] {
            let mut chunks = Chunks::default();
            for part in text.chunks(step) {
                chunks.push(part);
            }
            assert_eq!(chunks.len(), text.len());
            let chunks = chunks.finish();
            assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK));
            assert_eq!(chunks.concat(), text, "steps of {step} bytes");
        }
        assert!(Chunks::default().finish().is_empty());
    }
}
