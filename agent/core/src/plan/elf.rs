//! A thin, bounded view of one ELF file: what the rest of the planner asks about it, by virtual address.
//!
//! Called by every other room of `plan`; nobody else reads the file. It never follows a section's word without a check,
//! and it never looks at a symbol family the planner does not ask about, so that a hundred-megabyte executable is cheap.

mod tables;

use std::collections::HashMap;

use memchr::memmem;
use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};

use super::NoPlan;
use super::pages::Pages;
use tables::MAX_ENTRIES;

/// Bytes searched for a text in each segment, at most.
const MAX_SEARCH: u64 = 64 << 20;
/// Words found of one number, at most.
const MAX_FOUND: usize = 16;
/// Longest text that a search sees in one part.
const MAX_TEXT: usize = 128;

/// One ELF file.
pub(super) struct Image<'a> {
    file: &'a Pages<'a>,
    /// Machine in the header.
    pub(super) machine: elf::Machine,
    /// GNU build ID, lower-case hex.
    pub(super) build_id: Option<String>,
    segments: Vec<Segment>,
    symbols: HashMap<&'a [u8], u64>,
    relocations: HashMap<u64, Relocation<'a>>,
    /// Function starts from `.eh_frame_hdr`, as `(address of the table, entries)`.
    frames: Option<(u64, usize)>,
}

/// What to read of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tables {
    /// The symbols alone.
    Symbols,
    /// Relocations and unwind tables, too.
    All,
}

/// One PT_LOAD header.
#[derive(Debug, Clone, Copy)]
struct Segment {
    vaddr: u64,
    offset: u64,
    size: u64,
    exec: bool,
    write: bool,
}

/// What the dynamic loader will write at an address.
#[derive(Debug, Clone, Copy)]
enum Relocation<'a> {
    /// This very address of the image.
    Here(u64),
    /// The address of a symbol of another image.
    Elsewhere {
        name: &'a [u8],
        /// In a word that calls go through, and nothing else.
        calls: bool,
    },
}

impl<'a> Image<'a> {
    /// Reads `tables` of `file`.
    pub(super) fn parse(file: &'a Pages<'a>, tables: Tables) -> Result<Self, NoPlan> {
        let not_elf = |step: &'static str| move |source| NoPlan::NotElf { step, source };
        let header = FileHeader64::<Endianness>::parse(file).map_err(not_elf("file header"))?;
        let endian = header.endian().map_err(not_elf("byte order"))?;
        if endian != Endianness::Little {
            return Err(NoPlan::Machine(header.e_machine(endian).0));
        }
        let programs = header
            .program_headers(endian, file)
            .map_err(not_elf("program headers"))?;
        let mut image = Self {
            file,
            machine: header.e_machine(endian),
            build_id: None,
            segments: Vec::new(),
            symbols: HashMap::new(),
            relocations: HashMap::new(),
            frames: None,
        };
        let mut dynamic: &[u8] = &[];
        for program in programs {
            let (vaddr, flags) = (program.p_vaddr(endian), program.p_flags(endian));
            match program.p_type(endian) {
                elf::PT_LOAD => image.segments.push(Segment {
                    vaddr,
                    offset: program.p_offset(endian),
                    size: program.p_filesz(endian),
                    exec: flags.contains(elf::PF_X),
                    write: flags.contains(elf::PF_W),
                }),
                elf::PT_NOTE if image.build_id.is_none() => {
                    image.build_id =
                        program
                            .notes(endian, file)
                            .ok()
                            .flatten()
                            .and_then(|mut notes| {
                                // A malformed note ends the search: the ID is for display.
                                while let Ok(Some(note)) = notes.next() {
                                    if note.name() == elf::ELF_NOTE_GNU
                                        && note.n_type(endian) == elf::NT_GNU_BUILD_ID
                                    {
                                        return Some(
                                            note.desc()
                                                .iter()
                                                .map(|byte| format!("{byte:02x}"))
                                                .collect(),
                                        );
                                    }
                                }
                                None
                            });
                }
                elf::PT_DYNAMIC => dynamic = program.data(endian, file).unwrap_or_default(),
                elf::PT_GNU_EH_FRAME => image.frames = Some((vaddr, 0)),
                _ => {}
            }
        }
        image
            .read_tables(header, endian, dynamic, tables)
            .map_err(not_elf("section headers"))?;
        image.frames = image.frames.and_then(|(at, _)| image.frame_table(at));
        Ok(image)
    }

    /// Address of a defined function.
    pub(super) fn symbol(&self, name: &str) -> Option<u64> {
        self.symbols.get(name.as_bytes()).copied()
    }

    /// Defined functions of the families the planner asks about whose name satisfies `wanted`, sorted by name.
    pub(super) fn symbols(&self, wanted: impl Fn(&str) -> bool) -> Vec<(&'a str, u64)> {
        let mut found: Vec<_> = self
            .symbols
            .iter()
            .filter_map(|(name, at)| Some((std::str::from_utf8(name).ok()?, *at)))
            .filter(|(name, _)| wanted(name))
            .collect();
        found.sort_unstable();
        found
    }

    /// The segment around an address that is in the file, and how far into it the address is.
    fn segment(&self, vaddr: u64) -> Option<(&Segment, u64)> {
        self.segments.iter().find_map(|segment| {
            let inside = vaddr.checked_sub(segment.vaddr)?;
            (inside < segment.size).then_some((segment, inside))
        })
    }

    /// The file's bytes at an address, up to `len` of them and up to the end of the segment.
    pub(super) fn bytes_at(&self, vaddr: u64, len: usize) -> Option<&'a [u8]> {
        let (segment, inside) = self.segment(vaddr)?;
        let start = segment.offset.checked_add(inside)?;
        let left = segment
            .size
            .checked_sub(inside)?
            .min(self.file.size().checked_sub(start)?);
        self.file
            .get(start, len.min(usize::try_from(left).unwrap_or(usize::MAX)))
    }

    /// Little-endian number of `size` bytes in a segment that the program cannot write, or that relocation fixes.
    pub(super) fn constant(&self, vaddr: u64, size: usize) -> Option<u64> {
        if size == 8 && self.relocations.contains_key(&vaddr) {
            return self.pointer(vaddr);
        }
        if self.segment(vaddr)?.0.write {
            return None;
        }
        self.number(vaddr, size)
    }

    /// Little-endian number of `size` bytes, up to 8, as the file has it.
    pub(super) fn number(&self, vaddr: u64, size: usize) -> Option<u64> {
        let bytes = self.bytes_at(vaddr, size)?;
        (bytes.len() == size && size <= 8).then(|| {
            bytes
                .iter()
                .rev()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        })
    }

    /// The pointer that a word of the image will hold once loaded, as an address of this image.
    ///
    /// A word that no RELA entry names holds its own value: that is so for fixed-address executables, and for RELR, whose
    /// addends are in place.
    pub(super) fn pointer(&self, vaddr: u64) -> Option<u64> {
        match self.relocations.get(&vaddr) {
            Some(Relocation::Here(value)) => Some(*value),
            Some(Relocation::Elsewhere { .. }) => None,
            None => self.number(vaddr, 8),
        }
    }

    /// Name of the symbol of another image that a word will point to.
    pub(super) fn import(&self, vaddr: u64) -> Option<&'a [u8]> {
        match self.relocations.get(&vaddr) {
            Some(Relocation::Elsewhere { name, .. }) => Some(name),
            _ => None,
        }
    }

    /// The words that will point to this symbol of another image, each with whether only calls go through it.
    pub(super) fn imports(&self, wanted: &str) -> Vec<(u64, bool)> {
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

    /// The words that will point to this address of the image.
    pub(super) fn words_to(&self, vaddr: u64) -> Vec<u64> {
        let words = self.relocations.iter().filter_map(|(at, relocation)| {
            matches!(relocation, Relocation::Here(value) if *value == vaddr).then_some(*at)
        });
        words.collect()
    }

    /// The address is in a segment that can be executed.
    pub(super) fn is_code(&self, vaddr: u64) -> bool {
        self.segment(vaddr).is_some_and(|(segment, _)| segment.exec)
    }

    /// Where the byte at an address is in the file.
    fn offset_at(&self, vaddr: u64) -> Option<u64> {
        let (segment, inside) = self.segment(vaddr)?;
        segment.offset.checked_add(inside)
    }

    /// Where the byte at an executable address is in the file: what a uprobe attaches to.
    pub(super) fn file_offset(&self, vaddr: u64) -> Option<u64> {
        let (segment, inside) = self.segment(vaddr).filter(|(segment, _)| segment.exec)?;
        segment
            .offset
            .checked_add(inside)
            .filter(|offset| *offset < self.file.size())
    }

    /// The binary search table of `.eh_frame_hdr` (LSB Core, "DWARF Extensions"), in the one encoding linkers write.
    fn frame_table(&self, at: u64) -> Option<(u64, usize)> {
        // Version 1; any pointer to .eh_frame; udata4 count; datarel|sdata4 table.
        let [1, _, 0x03, 0x3b] = *self.bytes_at(at, 4)? else {
            return None;
        };
        let count = usize::try_from(self.number(at.checked_add(8)?, 4)?).ok()?;
        (count <= MAX_ENTRIES).then_some((at, count))
    }

    /// Start of the last function that begins at or before `vaddr`, where unwind tables tell.
    pub(super) fn function_around(&self, vaddr: u64) -> Option<u64> {
        let (at, count) = self.frames?;
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

    /// Unwind tables tell where functions begin.
    pub(super) fn knows_functions(&self) -> bool {
        self.frames.is_some()
    }

    /// A function begins here, where unwind tables tell.
    pub(super) fn is_function_start(&self, vaddr: u64) -> bool {
        self.function_around(vaddr) == Some(vaddr)
    }

    /// Both addresses are in one function, or there are no unwind tables to tell.
    pub(super) fn same_function(&self, a: u64, b: u64) -> bool {
        match (self.function_around(a), self.function_around(b)) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        }
    }

    /// Text up to the next NUL, if it is printable.
    pub(super) fn text(&self, vaddr: u64) -> Option<&'a str> {
        let bytes = self.bytes_at(vaddr, MAX_TEXT)?;
        let text = std::str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()?;
        text.chars()
            .all(|c| c.is_ascii_graphic() || c == ' ')
            .then_some(text)
    }

    /// The words of the file that look like the beginning of a table, as addresses: `first`, then a zero. At most `limit`.
    pub(super) fn words(&self, first: u64, limit: usize) -> Vec<u64> {
        self.find_bytes(&[first.to_le_bytes(), [0; 8]].concat(), limit)
    }

    /// The words of the file that hold a number, as addresses; at most [`MAX_FOUND`].
    pub(super) fn find(&self, number: u64) -> Vec<u64> {
        self.find_bytes(&number.to_le_bytes(), MAX_FOUND)
    }

    /// Where words of the file begin with these bytes.
    fn find_bytes(&self, start: &[u8], limit: usize) -> Vec<u64> {
        let mut found = Vec::new();
        for segment in &self.segments {
            // Segments begin anywhere in a page; words are where their addresses are multiples of eight.
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
                    // The end of one part is the beginning of the next.
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

    /// Shows each place in executable bytes that begins with `mark` to `look`: its address, and the bytes there, at least
    /// `size` of them.
    pub(super) fn search_code(&self, mark: &[u8], size: usize, mut look: impl FnMut(u64, &[u8])) {
        for segment in self.segments.iter().filter(|segment| segment.exec) {
            let overlap = size.max(mark.len());
            let mut next = 0;
            let length = segment.size.min(MAX_SEARCH);
            self.file
                .search(segment.offset, length, overlap, |at, part| -> Option<()> {
                    for inside in memmem::find_iter(part, mark) {
                        let from_start = at - segment.offset + inside as u64;
                        let bytes = part.get(inside..).filter(|bytes| bytes.len() >= size);
                        // The end of one part is the beginning of the next.
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

    /// Shows the executable bytes of `(start, size)` to `look`, in parts of which each holds the last `overlap` bytes of the one
    /// before; with a part comes its address.
    pub(super) fn search_range(
        &self,
        (start, size): (u64, u64),
        overlap: usize,
        mut look: impl FnMut(u64, &[u8]),
    ) {
        let end = start.saturating_add(size.min(MAX_SEARCH));
        for segment in self.segments.iter().filter(|segment| segment.exec) {
            let from = start.max(segment.vaddr);
            let to = end.min(segment.vaddr.saturating_add(segment.size));
            let inside = from - segment.vaddr;
            let Some((size, offset)) = to.checked_sub(from).zip(segment.offset.checked_add(inside))
            else {
                continue;
            };
            self.file
                .search(offset, size, overlap, |at, part| -> Option<()> {
                    look(from + (at - offset), part);
                    None
                });
        }
    }

    /// Shows the read-only, non-executable bytes of the file to `look`, in overlapping parts, until it returns something.
    pub(super) fn search_constants<T>(
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
