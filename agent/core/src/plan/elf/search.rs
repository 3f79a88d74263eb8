//! Searches for bytes and words in the segments of an image.

use std::ops::Range;

use memchr::memmem;

use super::image::{Image, MAX_TEXT};

/// Limit of bytes searched in each segment.
const MAX_SEARCH: u64 = 64 << 20;
/// Work of one match of a search, units.
const MATCH: u64 = 20;
/// Work of a byte-by-byte comparison in a part, units per byte.
const EACH_BYTE: u64 = 2;
/// Limit of words found of one number.
const MAX_FOUND: usize = 16;

impl Image<'_> {
    /// Returns the addresses of words that hold `first` and are followed by a zero word, up to
    /// `limit`.
    pub(in crate::plan) fn table_heads(&self, first: u64, limit: usize) -> Vec<u64> {
        self.find_bytes(&[first.to_le_bytes(), [0; 8]].concat(), limit)
    }

    /// Returns the addresses of words that hold a number, up to [`MAX_FOUND`].
    pub(in crate::plan) fn words_equal_to(&self, number: u64) -> Vec<u64> {
        self.find_bytes(&number.to_le_bytes(), MAX_FOUND)
    }

    /// Returns the addresses of words that begin with these bytes, up to `limit`.
    fn find_bytes(&self, start: &[u8], limit: usize) -> Vec<u64> {
        let mut found = Vec::new();
        for segment in &self.segments {
            // A segment may begin anywhere in a page; words are aligned to eight.
            let skip = segment.vaddr.wrapping_neg() % 8;
            let Some(offset) = segment.offset.checked_add(skip) else {
                continue;
            };
            let size = segment.size.saturating_sub(skip);
            self.file.search(offset, size, start.len(), |at, part| {
                let words = memmem::find_iter(part, start)
                    .map(|inside| at - segment.offset + inside as u64)
                    .filter_map(|inside| segment.vaddr.checked_add(inside))
                    .filter(|at| at % 8 == 0);
                for word in words {
                    if !self.charge(MATCH) {
                        return Some(());
                    }
                    // Parts overlap.
                    if found.last() != Some(&word) {
                        found.push(word);
                    }
                }
                (found.len() >= limit).then_some(())
            });
        }
        found.truncate(limit);
        found
    }

    /// Calls `look` for each place in executable bytes that begins with `mark`, with its address
    /// and at least `size` bytes.
    pub(in crate::plan) fn search_code(
        &self,
        mark: &[u8],
        size: usize,
        mut look: impl FnMut(u64, &[u8]),
    ) {
        for segment in self.segments.iter().filter(|segment| segment.exec) {
            let overlap = size.max(mark.len());
            let mut next = 0;
            let length = segment.size.min(MAX_SEARCH);
            self.file
                .search(segment.offset, length, overlap, |at, part| -> Option<()> {
                    for inside in memmem::find_iter(part, mark) {
                        if !self.charge(MATCH) {
                            break;
                        }
                        let from_start = at - segment.offset + inside as u64;
                        let bytes = part.get(inside..).filter(|bytes| bytes.len() >= size);
                        // Parts overlap.
                        if let Some(bytes) = bytes.filter(|_| from_start >= next)
                            && let Some(address) = segment.vaddr.checked_add(from_start)
                        {
                            next = from_start + 1;
                            look(address, bytes);
                        }
                    }
                    None
                });
        }
    }

    /// Calls `look` for the executable bytes of `range`, in parts that overlap by `overlap` bytes,
    /// with the address of each part.
    pub(in crate::plan) fn search_range(
        &self,
        range: Range<u64>,
        overlap: usize,
        mut look: impl FnMut(u64, &[u8]),
    ) {
        let end = range.end.min(range.start.saturating_add(MAX_SEARCH));
        for segment in self.segments.iter().filter(|segment| segment.exec) {
            let from = range.start.max(segment.vaddr);
            let to = end.min(segment.vaddr.saturating_add(segment.size));
            let inside = from - segment.vaddr;
            let Some((size, offset)) = to.checked_sub(from).zip(segment.offset.checked_add(inside))
            else {
                continue;
            };
            self.file
                .search(offset, size, overlap, |at, part| -> Option<()> {
                    if self.charge(part.len() as u64 * EACH_BYTE) {
                        look(from + (at - offset), part);
                    }
                    None
                });
        }
    }

    /// Calls `look` for the read-only, non-executable bytes, in parts that overlap by the longest
    /// text, until it returns a value.
    pub(in crate::plan) fn search_constants<T>(
        &self,
        mut look: impl FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let readable = self
            .segments
            .iter()
            .filter(|segment| !segment.write && !segment.exec);
        for segment in readable {
            let size = segment.size.min(MAX_SEARCH);
            let found = self
                .file
                .search(segment.offset, size, MAX_TEXT, |_, part| look(part));
            if found.is_some() {
                return found;
            }
        }
        None
    }
}
