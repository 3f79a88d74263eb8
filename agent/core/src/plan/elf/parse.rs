//! Parsing of the ELF header and the program headers.

use std::collections::HashMap;

use object::Endianness;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};

use super::image::{Image, Segment, Tables};
use crate::plan::error::PlanError;
use crate::plan::pages::Pages;

/// Limit of loaded segments. Linkers write up to ten.
const MAX_SEGMENTS: usize = 64;

impl<'a> Image<'a> {
    /// Reads `tables` of `file`.
    pub(in crate::plan) fn parse(file: &'a Pages<'a>, tables: Tables) -> Result<Self, PlanError> {
        let not_elf = |step: &'static str| move |source| PlanError::NotElf { step, source };
        let header = FileHeader64::<Endianness>::parse(file).map_err(not_elf("file header"))?;
        let endian = header.endian().map_err(not_elf("byte order"))?;
        if endian != Endianness::Little {
            return Err(PlanError::Machine(header.e_machine(endian).0));
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
            unwind_table: None,
        };
        let mut dynamic: &[u8] = &[];
        let mut unwind_header = None;
        for program in programs {
            let (vaddr, flags) = (program.p_vaddr(endian), program.p_flags(endian));
            match program.p_type(endian) {
                elf::PT_LOAD if image.segments.len() >= MAX_SEGMENTS => {
                    return Err(PlanError::TooManySegments {
                        limit: MAX_SEGMENTS,
                    });
                }
                elf::PT_LOAD => image.segments.push(Segment {
                    vaddr,
                    offset: program.p_offset(endian),
                    size: program.p_filesz(endian),
                    exec: flags.contains(elf::PF_X),
                    write: flags.contains(elf::PF_W),
                }),
                elf::PT_NOTE if image.build_id.is_none() => {
                    image.build_id = build_id(program, endian, file);
                }
                elf::PT_DYNAMIC => dynamic = program.data(endian, file).unwrap_or_default(),
                elf::PT_GNU_EH_FRAME => unwind_header = Some(vaddr),
                _ => {}
            }
        }
        image
            .read_tables(header, endian, dynamic, tables)
            .map_err(not_elf("section headers"))?;
        image.unwind_table = unwind_header.and_then(|at| image.find_unwind_table(at));
        Ok(image)
    }
}

/// The GNU build ID in a note segment. A malformed note ends the search: the ID is for display.
fn build_id(
    program: &ProgramHeader64<Endianness>,
    endian: Endianness,
    file: &Pages<'_>,
) -> Option<String> {
    let mut notes = program.notes(endian, file).ok().flatten()?;
    while let Ok(Some(note)) = notes.next() {
        if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
            let digits = note.desc().iter().map(|byte| format!("{byte:02x}"));
            return Some(digits.collect());
        }
    }
    None
}
