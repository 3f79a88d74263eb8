//! A bounded cache of a file's bytes, read piece by piece for as long as a plan is made.
//!
//! A library in a hundred-megabyte program costs only the pages that are read. A file that another
//! process truncates or rewrites at the same time reads as a damaged one, and never faults as a
//! mapping would.

use std::cell::Cell;

use elsa::FrozenMap;
use memchr::memchr;
use object::ReadRef;

use super::work::Work;

/// A file to plan from.
pub trait Bytes {
    /// Returns the size in bytes.
    fn size(&self) -> u64;

    /// Fills `into` from `offset` on. Returns `false` where the file is too short or cannot be
    /// read.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> bool;

    /// Whether the work may go on; asked regularly. `false` ends it.
    fn may_continue(&self) -> bool {
        true
    }
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

/// Limit of bytes cached. Node 24, with the largest known tables, needs 17 MiB.
const MAX_CACHED: usize = 24 << 20;
/// Size of a page, bytes.
const PAGE: u64 = 16 << 10;
/// Bytes of the next page that a cached page includes: any range up to this size is in one page.
const OVERLAP: u64 = 256;
/// Bytes read in one step of a search.
const STEP: usize = 1 << 20;
/// Work of one read from the cache, units.
const GET: u64 = 40;
/// Bytes that are read from the file or searched per unit of work.
const BYTES_PER_UNIT: u64 = 2;
/// Units of work after which the file is asked whether to continue.
const POLL_INTERVAL: u64 = 1 << 20;

/// A cache of one file.
pub(super) struct Pages<'f> {
    file: &'f dyn Bytes,
    size: u64,
    /// Pieces by offset and size.
    cache: FrozenMap<(u64, usize), Box<[u8]>>,
    /// Bytes that may still be cached.
    remaining: Cell<usize>,
    work: Work,
}

impl<'f> Pages<'f> {
    /// Creates an empty cache with a budget of its own.
    pub(super) fn new(file: &'f dyn Bytes) -> Self {
        Self::with_work(file, Work::default())
    }

    /// Creates an empty cache that charges `work`.
    pub(super) fn with_work(file: &'f dyn Bytes, work: Work) -> Self {
        Self {
            file,
            size: file.size(),
            cache: FrozenMap::new(),
            remaining: Cell::new(MAX_CACHED),
            work,
        }
    }

    /// Returns the work done so far.
    pub(super) const fn work(&self) -> &Work {
        &self.work
    }

    /// Adds work; returns whether more may be done.
    pub(super) fn charge(&self, units: u64) -> bool {
        let before = self.work.units() / POLL_INTERVAL;
        let may_continue = self.work.charge(units);
        if self.work.units() / POLL_INTERVAL != before && !self.file.may_continue() {
            self.work.expire();
            return false;
        }
        may_continue
    }

    /// Returns the size of the file, bytes.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Returns `size` bytes from `offset` on; `None` beyond the end of the file, or at the limit of
    /// the cache.
    pub(super) fn get(&self, offset: u64, size: usize) -> Option<&[u8]> {
        let end = offset.checked_add(size as u64)?;
        if end > self.size || !self.charge(GET) {
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

    /// Returns one range, which becomes a piece of its own.
    fn range(&self, offset: u64, size: usize) -> Option<&[u8]> {
        if let Some(bytes) = self.cache.get(&(offset, size)) {
            return Some(bytes);
        }
        let remaining = self.remaining.get().checked_sub(size)?;
        if !self.charge(size as u64 / BYTES_PER_UNIT) {
            return None;
        }
        let mut bytes = vec![0; size].into_boxed_slice();
        if !self.file.read_at(offset, &mut bytes) {
            return None;
        }
        self.remaining.set(remaining);
        Some(self.cache.insert((offset, size), bytes))
    }

    /// Calls `look` for `size` bytes from `offset` on, in parts that overlap by `overlap` bytes,
    /// with the offset of each part, until it returns a value. The bytes are not cached.
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
            if !self.charge(GET + part.len() as u64 / BYTES_PER_UNIT)
                || !self.file.read_at(at, part)
            {
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
    fn cache_is_bounded() {
        let file = vec![1; 2 * MAX_CACHED];
        let pages = Pages::new(&file);
        assert!(pages.get(0, MAX_CACHED - 1).is_some());
        assert!(pages.get(7, 1000).is_none());
        assert!(pages.get(0, MAX_CACHED - 1).is_some(), "cached");
        assert_eq!(
            pages.search(0, pages.size(), 8, |at, _| (at > MAX_CACHED as u64)
                .then_some(())),
            Some(())
        );
    }

    #[test]
    fn search_covers_every_window() {
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
