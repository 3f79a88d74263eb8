//! Function starts from the unwind tables of an image.

use super::image::{Image, UnwindTable};
use super::tables::MAX_ENTRIES;

impl Image<'_> {
    /// Reads the header of `.eh_frame_hdr` at `at` (LSB Core, "DWARF Extensions"), in the one
    /// encoding that linkers write.
    pub(super) fn find_unwind_table(&self, at: u64) -> Option<UnwindTable> {
        // Version 1; any pointer to .eh_frame; udata4 count; datarel|sdata4 table.
        let [1, _, 0x03, 0x3b] = *self.bytes_at(at, 4)? else {
            return None;
        };
        let count = usize::try_from(self.number(at.checked_add(8)?, 4)?).ok()?;
        (count <= MAX_ENTRIES).then_some(UnwindTable { at, count })
    }

    /// Returns the start of the last function that begins at or before `vaddr`; `None` without
    /// unwind tables.
    pub(in crate::plan) fn function_containing(&self, vaddr: u64) -> Option<u64> {
        let UnwindTable { at, count } = self.unwind_table?;
        let start = |index: usize| -> Option<u64> {
            let entry = at
                .checked_add(12)?
                .checked_add((index as u64).checked_mul(8)?)?;
            let relative = u32::try_from(self.number(entry, 4)?).ok()?.cast_signed();
            at.checked_add_signed(i64::from(relative))
        };
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if start(middle)? <= vaddr {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        start(low.checked_sub(1)?)
    }

    /// Whether unwind tables list the function starts.
    pub(in crate::plan) fn has_unwind_table(&self) -> bool {
        self.unwind_table.is_some()
    }

    /// Whether unwind tables list a function that begins at `vaddr`.
    pub(in crate::plan) fn is_function_start(&self, vaddr: u64) -> bool {
        self.function_containing(vaddr) == Some(vaddr)
    }

    /// Whether both addresses are in one function; `true` without unwind tables.
    pub(in crate::plan) fn same_function(&self, a: u64, b: u64) -> bool {
        match (self.function_containing(a), self.function_containing(b)) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        }
    }
}
