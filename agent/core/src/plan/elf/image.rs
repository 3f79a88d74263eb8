//! The image: segments, symbols and relocations, and access to its bytes by address.

use std::collections::HashMap;

use object::elf;

use crate::plan::{pages::Pages, work::Work};

/// Work of one comparison with a segment, symbol or relocation, units.
const COMPARISON: u64 = 2;
/// Longest text that is read, bytes.
pub(super) const MAX_TEXT: usize = 128;

/// One ELF file.
pub(in crate::plan) struct Image<'a> {
    /// Bytes of the file.
    pub(super) file: &'a Pages<'a>,
    /// Machine in the header.
    pub(in crate::plan) machine: elf::Machine,
    /// GNU build ID, lower-case hex.
    pub(in crate::plan) build_id: Option<String>,
    /// Loaded segments.
    pub(super) segments: Vec<Segment>,
    /// Addresses of defined functions, by name.
    pub(super) symbols: HashMap<&'a [u8], u64>,
    /// Relocations, by the address of the word.
    pub(super) relocations: HashMap<u64, Relocation<'a>>,
    /// Search table of `.eh_frame_hdr`, which lists where functions begin.
    pub(super) unwind_table: Option<UnwindTable>,
}

/// The tables to read of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Tables {
    /// Symbols only.
    Symbols,
    /// Symbols, relocations and unwind tables.
    All,
}

/// One PT_LOAD header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// Virtual address.
    pub(super) vaddr: u64,
    /// Offset in the file, bytes.
    pub(super) offset: u64,
    /// Size in the file, bytes.
    pub(super) size: u64,
    /// Executable.
    pub(super) exec: bool,
    /// Writable.
    pub(super) write: bool,
}

/// The value that the dynamic loader writes to a word.
#[derive(Debug, Clone, Copy)]
pub(super) enum Relocation<'a> {
    /// An address of this image.
    Here(u64),
    /// The address of a symbol of another image.
    Elsewhere {
        /// Name of the symbol.
        name: &'a [u8],
        /// The word is read by calls only.
        calls: bool,
    },
}

/// Location of the search table of `.eh_frame_hdr`.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnwindTable {
    /// Address of the header.
    pub(super) at: u64,
    /// Number of entries.
    pub(super) count: usize,
}

impl<'a> Image<'a> {
    /// Adds work; returns whether more may be done.
    pub(in crate::plan) fn charge(&self, units: u64) -> bool {
        self.file.charge(units)
    }

    /// Returns the work done so far.
    pub(in crate::plan) const fn work(&self) -> &Work {
        self.file.work()
    }

    /// Charges a look at all `count` entries of a table.
    fn charge_comparisons(&self, count: usize) -> bool {
        self.charge(count as u64 * COMPARISON)
    }

    /// Returns the address of a defined function.
    pub(in crate::plan) fn symbol(&self, name: &str) -> Option<u64> {
        self.symbols.get(name.as_bytes()).copied()
    }

    /// Returns the defined functions with a name that satisfies `wanted`, sorted by name. Only name
    /// families that a plan needs are known.
    pub(in crate::plan) fn symbols(&self, wanted: impl Fn(&str) -> bool) -> Vec<(&'a str, u64)> {
        if !self.charge_comparisons(self.symbols.len()) {
            return Vec::new();
        }
        let mut found: Vec<_> = self
            .symbols
            .iter()
            .filter_map(|(name, at)| Some((std::str::from_utf8(name).ok()?, *at)))
            .filter(|(name, _)| wanted(name))
            .collect();
        found.sort_unstable();
        found
    }

    /// Returns the segment that holds an address, and the offset of the address in it.
    fn segment(&self, vaddr: u64) -> Option<(&Segment, u64)> {
        if !self.charge_comparisons(1 + self.segments.len() / 2) {
            return None;
        }
        self.segments.iter().find_map(|segment| {
            let inside = vaddr.checked_sub(segment.vaddr)?;
            (inside < segment.size).then_some((segment, inside))
        })
    }

    /// Returns up to `len` bytes at an address, which end with the segment.
    pub(in crate::plan) fn bytes_at(&self, vaddr: u64, len: usize) -> Option<&'a [u8]> {
        let (segment, inside) = self.segment(vaddr)?;
        let start = segment.offset.checked_add(inside)?;
        let left = segment
            .size
            .checked_sub(inside)?
            .min(self.file.size().checked_sub(start)?);
        self.file
            .get(start, len.min(usize::try_from(left).unwrap_or(usize::MAX)))
    }

    /// Returns the little-endian number of `size` bytes in a segment that the program cannot write,
    /// or the pointer that a relocation writes there.
    pub(in crate::plan) fn constant(&self, vaddr: u64, size: usize) -> Option<u64> {
        if size == 8 && self.relocations.contains_key(&vaddr) {
            return self.pointer(vaddr);
        }
        if self.segment(vaddr)?.0.write {
            return None;
        }
        self.number(vaddr, size)
    }

    /// Returns the little-endian number of `size` bytes, up to 8, in the file.
    pub(in crate::plan) fn number(&self, vaddr: u64, size: usize) -> Option<u64> {
        let bytes = self.bytes_at(vaddr, size)?;
        (bytes.len() == size && size <= 8).then(|| {
            bytes
                .iter()
                .rev()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        })
    }

    /// Returns the pointer that a word holds once the image is loaded, as an address of the image.
    ///
    /// A word without a RELA entry holds its own value: in fixed-address executables, and with
    /// RELR, which has its addends in place.
    pub(in crate::plan) fn pointer(&self, vaddr: u64) -> Option<u64> {
        match self.relocations.get(&vaddr) {
            Some(Relocation::Here(value)) => Some(*value),
            Some(Relocation::Elsewhere { .. }) => None,
            None => self.number(vaddr, 8),
        }
    }

    /// Returns the name of the symbol of another image that a word points to.
    pub(in crate::plan) fn import(&self, vaddr: u64) -> Option<&'a [u8]> {
        match self.relocations.get(&vaddr) {
            Some(Relocation::Elsewhere { name, .. }) => Some(name),
            _ => None,
        }
    }

    /// Returns the words that point to a symbol of another image, each with whether only calls
    /// read it.
    pub(in crate::plan) fn imports(&self, wanted: &str) -> Vec<(u64, bool)> {
        if !self.charge_comparisons(self.relocations.len()) {
            return Vec::new();
        }
        self.relocations
            .iter()
            .filter_map(|(at, relocation)| match relocation {
                Relocation::Elsewhere { name, calls } if *name == wanted.as_bytes() => {
                    Some((*at, *calls))
                }
                _ => None,
            })
            .collect()
    }

    /// Returns the words that point to an address of the image.
    pub(in crate::plan) fn words_pointing_to(&self, vaddr: u64) -> Vec<u64> {
        if !self.charge_comparisons(self.relocations.len()) {
            return Vec::new();
        }
        let words = self.relocations.iter().filter_map(|(at, relocation)| {
            matches!(relocation, Relocation::Here(value) if *value == vaddr).then_some(*at)
        });
        words.collect()
    }

    /// Whether the address is in an executable segment.
    pub(in crate::plan) fn is_code(&self, vaddr: u64) -> bool {
        self.segment(vaddr).is_some_and(|(segment, _)| segment.exec)
    }

    /// Returns the file offset of an address.
    pub(super) fn offset_at(&self, vaddr: u64) -> Option<u64> {
        let (segment, inside) = self.segment(vaddr)?;
        segment.offset.checked_add(inside)
    }

    /// Returns the file offset of an executable address: what a uprobe attaches to.
    pub(in crate::plan) fn file_offset(&self, vaddr: u64) -> Option<u64> {
        let (segment, inside) = self.segment(vaddr).filter(|(segment, _)| segment.exec)?;
        segment
            .offset
            .checked_add(inside)
            .filter(|offset| *offset < self.file.size())
    }

    /// Returns the text up to the next NUL, if it is printable.
    pub(in crate::plan) fn text(&self, vaddr: u64) -> Option<&'a str> {
        let bytes = self.bytes_at(vaddr, MAX_TEXT)?;
        let text = std::str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()?;
        text.chars()
            .all(|c| c.is_ascii_graphic() || c == ' ')
            .then_some(text)
    }
}
