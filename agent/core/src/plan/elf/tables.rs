//! Symbols and relocations of an ELF file, from its section headers, or from its dynamic segment where it has none.
//!
//! Called by `elf` while it reads a file. Every count is bounded, and a damaged table is an empty one: what it lacks is named
//! when it is asked for.

use object::Endianness;
use object::elf::{self, FileHeader64, Rela64, Sym64};
use object::pod;
use object::read::StringTable;
use object::read::elf::{FileHeader, Rela, SectionHeader, Sym};

use super::super::{cfg::NO_RETURN, pages::Pages};
use super::{Image, Relocation, Tables};

/// Symbols kept at most: a hostile table costs bounded memory.
const MAX_SYMBOLS: usize = 1 << 16;
/// Symbols looked at, and relocations kept, at most (node 24 has 330,000 symbols).
pub(super) const MAX_ENTRIES: usize = 1 << 21;
/// Entries of a dynamic segment, at most.
const MAX_DYNAMIC: usize = 1 << 10;
/// The name families a plan asks about.
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

/// Symbols with their names.
struct Symbols<'a> {
    entries: &'a [Sym64<Endianness>],
    strings: StringTable<'a, &'a Pages<'a>>,
}

/// What a relocation is relative to.
enum Kind {
    /// The load address.
    Relative,
    /// A symbol.
    Symbol {
        /// The addend counts: not so for the words of the global offset table.
        with_addend: bool,
        /// Only calls go through the word.
        calls: bool,
    },
}

impl Kind {
    /// Kind of a relocation (System V ABI, x86-64 supplement, table 4.10; ELF for the Arm 64-bit Architecture, section 5.7).
    fn of(machine: elf::Machine, number: elf::RelocationType) -> Option<Self> {
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
        // A stripped library keeps `.dynsym` and `.rela.*`.
        let table = |kind| {
            let symbols = sections.symbols(endian, file, kind).ok()?;
            Some(Symbols {
                entries: symbols.symbols(),
                strings: symbols.strings(),
            })
        };
        let dynamic = table(elf::SHT_DYNSYM);
        let mut left = MAX_ENTRIES;
        for symbols in dynamic.iter().chain(&table(elf::SHT_SYMTAB)) {
            self.add_symbols(endian, symbols, &mut left);
        }
        if tables == Tables::Symbols {
            return Ok(());
        }
        let mut left = MAX_ENTRIES;
        for section in sections.iter() {
            if let Ok(Some((entries, _))) = section.rela(endian, file) {
                self.add_relocations(endian, entries, dynamic.as_ref(), &mut left);
            }
        }
        Ok(())
    }

    /// Reads the tables that the dynamic loader reads (System V ABI, "Dynamic Section"), as a file without section headers
    /// has them.
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
                .symbols_hashed(value(elf::DT_GNU_HASH), value(elf::DT_HASH))
                // Linkers put the names right behind the symbols.
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
        let mut left = MAX_ENTRIES;
        if let Some(symbols) = &symbols {
            self.add_symbols(endian, symbols, &mut left);
        }
        let mut left = MAX_ENTRIES;
        for bytes in relocations.into_iter().flatten() {
            let count = bytes.len() / size_of::<Rela64<Endianness>>();
            if let Ok((entries, _)) = pod::slice_from_bytes(bytes, count) {
                self.add_relocations(endian, entries, symbols.as_ref(), &mut left);
            }
        }
    }

    /// How many symbols a hash table knows: that of GNU (buckets, then chains whose last entry is odd), or that of the System V
    /// ABI, whose second word is the number.
    fn symbols_hashed(&self, gnu: Option<u64>, plain: Option<u64>) -> Option<usize> {
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

    fn add_symbols(&mut self, endian: Endianness, symbols: &Symbols<'a>, left: &mut usize) {
        for symbol in symbols.entries.iter().take(*left) {
            *left -= 1;
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
                // Some linkers write "name@@VERSION" into .symtab.
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
        left: &mut usize,
    ) {
        for entry in entries.iter().take(*left) {
            *left -= 1;
            let addend = entry.r_addend(endian).cast_unsigned();
            let value =
                match Kind::of(self.machine, entry.r_type(endian, false)) {
                    Some(Kind::Relative) => Relocation::Here(addend),
                    Some(Kind::Symbol { with_addend, calls }) => {
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
