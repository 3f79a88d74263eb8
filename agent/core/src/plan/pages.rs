//! The bytes of a file as the planner asks for them: read piece by piece, kept for as long as the plan is made, up to a bound.
//!
//! Called by `elf` alone. A library in a hundred-megabyte program costs what is looked at of it; a file that another process
//! truncates or rewrites meanwhile reads as one that ends or lies, and never faults as a mapping would.

use std::cell::Cell;

use elsa::FrozenMap;
use memchr::memchr;
use object::ReadRef;

/// A file to plan from.
pub trait Bytes {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Fills `into` from `offset` on; `false` where the file has not that many bytes or cannot be read.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> bool;
}

impl<T: AsRef<[u8]>> Bytes for T {
    fn size(&self) -> u64 {
        self.as_ref().len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> bool {
        let bytes = usize::try_from(offset).ok().and_then(|start| {
            let end = start.checked_add(into.len())?;
            self.as_ref().get(start..end)
        });
        bytes.map(|bytes| into.copy_from_slice(bytes)).is_some()
    }
}

/// Bytes kept at most. Node 24, with the largest tables seen, needs 17 MiB.
const MAX_KEPT: usize = 24 << 20;
/// Size of a page, bytes.
const PAGE: u64 = 16 << 10;
/// What of the next page a page holds too: anything up to this size is in one page.
const OVERLAP: u64 = 256;
/// Bytes looked at in one step of a search.
const STEP: usize = 1 << 20;

/// See the module.
pub(super) struct Pages<'f> {
    file: &'f dyn Bytes,
    size: u64,
    /// By offset and size.
    kept: FrozenMap<(u64, usize), Box<[u8]>>,
    left: Cell<usize>,
}

impl<'f> Pages<'f> {
    /// Nothing is read yet.
    pub(super) fn new(file: &'f dyn Bytes) -> Self {
        Self {
            file,
            size: file.size(),
            kept: FrozenMap::new(),
            left: Cell::new(MAX_KEPT),
        }
    }

    /// The size of the file, bytes.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes from `offset` on; `None` beyond the end, or beyond what is kept.
    pub(super) fn get(&self, offset: u64, size: usize) -> Option<&[u8]> {
        let end = offset.checked_add(size as u64)?;
        if end > self.size {
            return None;
        }
        if size as u64 > OVERLAP {
            return self.range(offset, size);
        }
        let start = offset - offset % PAGE;
        let page = self.range(start, (self.size - start).min(PAGE + OVERLAP) as usize)?;
        let inside = (offset - start) as usize;
        page.get(inside..inside.checked_add(size)?)
    }

    /// One range, which becomes a piece of its own.
    fn range(&self, offset: u64, size: usize) -> Option<&[u8]> {
        if let Some(bytes) = self.kept.get(&(offset, size)) {
            return Some(bytes);
        }
        let left = self.left.get().checked_sub(size)?;
        let mut bytes = vec![0; size].into_boxed_slice();
        if !self.file.read_at(offset, &mut bytes) {
            return None;
        }
        self.left.set(left);
        Some(self.kept.insert((offset, size), bytes))
    }

    /// Shows the bytes from `offset` on to `look`, in order and in parts of which each holds the last `overlap` bytes of the one
    /// before, until it returns something. With a part comes its offset. Nothing of it is kept.
    pub(super) fn search<T>(
        &self,
        offset: u64,
        size: u64,
        overlap: usize,
        mut look: impl FnMut(u64, &[u8]) -> Option<T>,
    ) -> Option<T> {
        let end = offset.saturating_add(size).min(self.size);
        let mut at = offset;
        let mut buffer = vec![0; STEP + overlap];
        while at < end {
            let part = buffer.get_mut(..((end - at) as usize).min(STEP + overlap))?;
            if !self.file.read_at(at, part) {
                return None;
            }
            if let Some(found) = look(at, part) {
                return Some(found);
            }
            at += STEP as u64;
        }
        None
    }
}

impl<'a> ReadRef<'a> for &'a Pages<'_> {
    fn len(self) -> Result<u64, ()> {
        Ok(self.size)
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        usize::try_from(size)
            .ok()
            .and_then(|size| self.get(offset, size))
            .ok_or(())
    }

    fn read_bytes_at_until(
        self,
        range: std::ops::Range<u64>,
        delimiter: u8,
    ) -> Result<&'a [u8], ()> {
        let size = range.end.checked_sub(range.start).ok_or(())?.min(OVERLAP);
        let bytes = self.read_bytes_at(range.start, size)?;
        memchr(delimiter, bytes)
            .and_then(|end| bytes.get(..end))
            .ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_range_reads_as_the_file(offset in 0_u64..40_000, size in 0_usize..20_000) {
            let file: Vec<u8> = (0..35_000_u32).map(|at| (at % 251) as u8).collect();
            let pages = Pages::new(&file);
            let expected = file.get(offset as usize..offset as usize + size);
            prop_assert_eq!(pages.get(offset, size), expected);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let file = vec![1; 2 * MAX_KEPT];
        let pages = Pages::new(&file);
        assert!(pages.get(0, MAX_KEPT - 1).is_some());
        assert!(pages.get(7, 1000).is_none());
        assert!(pages.get(0, MAX_KEPT - 1).is_some(), "kept");
        assert_eq!(
            pages.search(0, pages.size(), 8, |at, _| (at > MAX_KEPT as u64)
                .then_some(())),
            Some(())
        );
    }

    #[test]
    fn a_search_sees_every_window() {
        let mut file = vec![0; 3 * STEP];
        file[2 * STEP - 3..2 * STEP + 3].copy_from_slice(b"needle");
        let pages = Pages::new(&file);
        let found = pages.search(5, pages.size(), 6, |at, part| {
            let inside = part.windows(6).position(|window| window == b"needle")?;
            Some(at + inside as u64)
        });
        assert_eq!(found, Some(2 * STEP as u64 - 3));
    }
}
