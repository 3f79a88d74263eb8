//! Symbols and relocations of an ELF file, from its section headers, or from its dynamic segment
//! where it has none.
//!
//! Every count is bounded. A damaged table reads as an empty one; an error then names the missing
//! symbol when a plan needs it.

use object::Endianness;
use object::elf::{self, FileHeader64, Rela64, Sym64};
use object::pod;
use object::read::StringTable;
use object::read::elf::{FileHeader, Rela, SectionHeader, Sym};

use super::image::{Image, Relocation, Tables};
use crate::plan::pages::Pages;

/// Limit of symbols stored, which bounds the memory that a hostile table costs.
const MAX_SYMBOLS: usize = 1 << 16;
/// Limit of symbols read, and of relocations stored (node 24 has 330,000 symbols).
pub(super) const MAX_ENTRIES: usize = 1 << 21;
/// Work of one symbol or relocation, units.
const ENTRY: u64 = 100;
/// Limit of entries of a dynamic segment.
const MAX_DYNAMIC: usize = 1 << 10;
/// Prefixes of the names that a plan needs.
const FAMILIES: [&[u8]; 11] = [
    b"SSL_",
    b"ssl3_ctrl",
    b"SSLv",
    b"SSLeay",
    b"TLS",
    b"DTLS",
    b"ERR_",
    b"BIO_",
    b"OpenSSL_",
    b"OPENSSL_",
    b"ossl_statem_",
];
/// Functions that do not return, by their names in the C library and in OpenSSL.
pub(in crate::plan) const NO_RETURN: [&[u8]; 8] = [
    b"__stack_chk_fail",
    b"abort",
    b"exit",
    b"_exit",
    b"__assert_fail",
    b"__chk_fail",
    b"__fortify_fail",
    b"OPENSSL_die",
];

/// Symbols with their names.
struct Symbols<'a> {
    entries: &'a [Sym64<Endianness>],
    strings: StringTable<'a, &'a Pages<'a>>,
}

/// Base of a relocation's value.
enum RelocationKind {
    /// The load address.
    Relative,
    /// A symbol.
    Symbol {
        /// The addend is used; the words of the global offset table ignore it.
        with_addend: bool,
        /// The word is read by calls only.
        calls: bool,
    },
}

impl RelocationKind {
    /// Classifies a relocation (System V ABI, x86-64 supplement, table 4.10; ELF for the Arm 64-bit
    /// Architecture, section 5.7).
    fn from_number(machine: elf::Machine, number: elf::RelocationType) -> Option<Self> {
        let symbol = |with_addend, calls| Some(Self::Symbol { with_addend, calls });
        match (machine, number) {
            (elf::EM_X86_64, elf::R_X86_64_RELATIVE)
            | (elf::EM_AARCH64, elf::R_AARCH64_RELATIVE) => Some(Self::Relative),
            (elf::EM_X86_64, elf::R_X86_64_64) | (elf::EM_AARCH64, elf::R_AARCH64_ABS64) => {
                symbol(true, false)
            }
            (elf::EM_X86_64, elf::R_X86_64_GLOB_DAT)
            | (elf::EM_AARCH64, elf::R_AARCH64_GLOB_DAT) => symbol(false, false),
            (elf::EM_X86_64, elf::R_X86_64_JUMP_SLOT)
            | (elf::EM_AARCH64, elf::R_AARCH64_JUMP_SLOT) => symbol(false, true),
            _ => None,
        }
    }
}

impl<'a> Image<'a> {
    /// Reads `tables`; `dynamic` is the file's dynamic segment.
    pub(super) fn read_tables(
        &mut self,
        header: &'a FileHeader64<Endianness>,
        endian: Endianness,
        dynamic: &'a [u8],
        tables: Tables,
    ) -> object::read::Result<()> {
        let file = self.file;
        let sections = header.sections(endian, file)?;
        if sections.is_empty() {
            self.read_dynamic(endian, dynamic);
            return Ok(());
        }
        // Stripping a library leaves `.dynsym` and `.rela.*`.
        let table = |kind| {
            let symbols = sections.symbols(endian, file, kind).ok()?;
            Some(Symbols {
                entries: symbols.symbols(),
                strings: symbols.strings(),
            })
        };
        let dynamic = table(elf::SHT_DYNSYM);
        let mut remaining = MAX_ENTRIES;
        for symbols in dynamic.iter().chain(&table(elf::SHT_SYMTAB)) {
            self.add_symbols(endian, symbols, &mut remaining);
        }
        if tables == Tables::Symbols {
            return Ok(());
        }
        let mut remaining = MAX_ENTRIES;
        for section in sections.iter() {
            if !self.charge(ENTRY) {
                break;
            }
            if let Ok(Some((entries, _))) = section.rela(endian, file) {
                self.add_relocations(endian, entries, dynamic.as_ref(), &mut remaining);
            }
        }
        Ok(())
    }

    /// Reads the tables that the dynamic loader reads (System V ABI, "Dynamic Section"), which a
    /// file without section headers has, too.
    fn read_dynamic(&mut self, endian: Endianness, dynamic: &'a [u8]) {
        let mut values = std::collections::HashMap::new();
        for entry in dynamic.chunks_exact(16).take(MAX_DYNAMIC) {
            let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
            let (tag, value) = entry.split_at(8);
            match (word(tag), word(value)) {
                (Some(0), _) => break,
                (Some(tag), Some(value)) => {
                    values.entry(tag.cast_signed()).or_insert(value);
                }
                _ => {}
            }
        }
        let value = |tag: elf::DynamicTag| values.get(&tag.0).copied();
        let at = |address, size| {
            let size = usize::try_from(value(size)?).ok()?;
            self.bytes_at(value(address)?, size)
        };
        let symbols = value(elf::DT_SYMTAB).and_then(|table| {
            let count = self
                .count_hashed_symbols(value(elf::DT_GNU_HASH), value(elf::DT_HASH))
                // Linkers place the names directly after the symbols.
                .or_else(|| {
                    let size = value(elf::DT_STRTAB)?.checked_sub(table)?;
                    usize::try_from(size / size_of::<Sym64<Endianness>>() as u64).ok()
                })?
                .min(MAX_ENTRIES);
            let bytes = self.bytes_at(table, count * size_of::<Sym64<Endianness>>())?;
            let count = bytes.len() / size_of::<Sym64<Endianness>>();
            let strings = self.offset_at(value(elf::DT_STRTAB)?)?;
            let end = strings.checked_add(value(elf::DT_STRSZ)?)?;
            Some(Symbols {
                entries: pod::slice_from_bytes(bytes, count).ok()?.0,
                strings: StringTable::new(self.file, strings, end),
            })
        });
        let relocations = [
            at(elf::DT_RELA, elf::DT_RELASZ),
            at(elf::DT_JMPREL, elf::DT_PLTRELSZ),
        ];
        let mut remaining = MAX_ENTRIES;
        if let Some(symbols) = &symbols {
            self.add_symbols(endian, symbols, &mut remaining);
        }
        let mut remaining = MAX_ENTRIES;
        for bytes in relocations.into_iter().flatten() {
            let count = bytes.len() / size_of::<Rela64<Endianness>>();
            if let Ok((entries, _)) = pod::slice_from_bytes(bytes, count) {
                self.add_relocations(endian, entries, symbols.as_ref(), &mut remaining);
            }
        }
    }

    /// Returns the number of symbols in a hash table: of GNU's (buckets, then chains that end with
    /// an odd entry), or of the System V ABI's, which has the number in its second word.
    fn count_hashed_symbols(&self, gnu: Option<u64>, plain: Option<u64>) -> Option<usize> {
        let word = |at: u64| self.number(at, 4).map(|word| word as u32);
        if let Some(at) = gnu {
            let (buckets, first, filter) = (word(at)?, word(at + 4)?, word(at + 8)?);
            let table = at
                .checked_add(16)?
                .checked_add(u64::from(filter).checked_mul(8)?)?;
            let chains = table.checked_add(u64::from(buckets).checked_mul(4)?)?;
            let mut last = 0;
            for bucket in 0..u64::from(buckets).min(MAX_ENTRIES as u64) {
                last = last.max(word(table.checked_add(bucket * 4)?)?);
            }
            if last < first {
                return usize::try_from(first).ok();
            }
            for index in last..last.saturating_add(MAX_ENTRIES as u32) {
                if word(chains.checked_add(u64::from(index - first) * 4)?)? & 1 == 1 {
                    return usize::try_from(index).ok()?.checked_add(1);
                }
            }
            return None;
        }
        usize::try_from(word(plain?.checked_add(4)?)?).ok()
    }

    fn add_symbols(&mut self, endian: Endianness, symbols: &Symbols<'a>, remaining: &mut usize) {
        for symbol in symbols.entries.iter().take(*remaining) {
            *remaining -= 1;
            if !self.charge(ENTRY) {
                return;
            }
            if symbol.is_undefined(endian) || symbol.st_type() != elf::STT_FUNC {
                continue;
            }
            let Ok(name) = symbols.strings.get(symbol.st_name(endian)) else {
                continue;
            };
            if self.symbols.len() < MAX_SYMBOLS
                && (FAMILIES.iter().any(|family| name.starts_with(family))
                    || NO_RETURN.contains(&name))
            {
                // Some linkers write "name@@VERSION" into `.symtab`.
                let name = name.split(|byte| *byte == b'@').next().unwrap_or(name);
                self.symbols
                    .entry(name)
                    .or_insert_with(|| symbol.st_value(endian));
            }
        }
    }

    fn add_relocations(
        &mut self,
        endian: Endianness,
        entries: &[Rela64<Endianness>],
        symbols: Option<&Symbols<'a>>,
        remaining: &mut usize,
    ) {
        for entry in entries.iter().take(*remaining) {
            *remaining -= 1;
            if !self.charge(ENTRY) {
                return;
            }
            let addend = entry.r_addend(endian).cast_unsigned();
            let value =
                match RelocationKind::from_number(self.machine, entry.r_type(endian, false)) {
                    Some(RelocationKind::Relative) => Relocation::Here(addend),
                    Some(RelocationKind::Symbol { with_addend, calls }) => {
                        let symbol = entry.symbol(endian, false).zip(symbols).and_then(
                            |(index, symbols)| Some((symbols, symbols.entries.get(index.0)?)),
                        );
                        let Some((symbols, symbol)) = symbol else {
                            continue;
                        };
                        if symbol.is_undefined(endian) {
                            let name = symbols.strings.get(symbol.st_name(endian));
                            Relocation::Elsewhere {
                                name: name.unwrap_or_default(),
                                calls,
                            }
                        } else {
                            let addend = if with_addend { addend } else { 0 };
                            Relocation::Here(symbol.st_value(endian).wrapping_add(addend))
                        }
                    }
                    None => continue,
                };
            self.relocations.insert(entry.r_offset(endian), value);
        }
    }
}
