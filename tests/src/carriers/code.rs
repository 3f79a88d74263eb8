//! Code of a file, read independently of any plan: symbols, call frames (`.eh_frame`), executable
//! segments and instructions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EndianSlice, LittleEndian, UnwindContext, UnwindSection as _,
};
use object::{
    Architecture, Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _,
    SegmentFlags, elf,
};

use crate::process::run;

/// Name and address range of a function.
pub type Function = (String, Range<u64>);

/// Code of one file.
#[derive(Debug)]
pub struct Code {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Whether the file is for AArch64 and not for x86-64.
    pub is_arm: bool,
    /// Virtual addresses of executable segments, with the file offset of each.
    segments: Vec<(Range<u64>, u64)>,
    functions: Vec<Function>,
}

/// The call frame at an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Address range of the function or of a part of it.
    pub range: Range<u64>,
    /// Bytes between the stack pointer at the function's entry and here; `None` where a frame
    /// pointer is used.
    pub depth: Option<u64>,
}

impl Code {
    /// Reads a file.
    ///
    /// # Panics
    /// If it is not an object file.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path)
            .unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()));
        let file = object::File::parse(bytes.as_slice())
            .unwrap_or_else(|error| panic!("{} is no object file: {error}", path.display()));
        let executable = |flags| matches!(flags, SegmentFlags::Elf { p_flags, .. } if p_flags.0 & elf::PF_X.0 != 0);
        let segments = file
            .segments()
            .filter(|segment| executable(segment.flags()))
            .map(|segment| {
                let (offset, size) = segment.file_range();
                (segment.address()..segment.address() + size, offset)
            })
            .collect();
        let functions = file
            .symbols()
            .chain(file.dynamic_symbols())
            .filter(|symbol| symbol.is_definition() && symbol.size() > 0)
            .filter_map(|symbol| {
                let range = symbol.address()..symbol.address() + symbol.size();
                Some((symbol.name().ok()?.to_owned(), range))
            })
            .collect();
        Self {
            is_arm: file.architecture() == Architecture::Aarch64,
            path: path.to_owned(),
            segments,
            functions,
            bytes,
        }
    }

    /// Returns the address of a file offset if it is executable.
    #[must_use]
    pub fn address(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|(range, start)| {
            let address = range.start + offset.checked_sub(*start)?;
            range.contains(&address).then_some(address)
        })
    }

    /// Returns every function with this name and its clones, such as `name.isra.0` or `name.cold`.
    #[must_use]
    pub fn functions(&self, name: &str) -> Vec<Function> {
        let of = |symbol: &str| {
            symbol == name
                || symbol
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('.'))
        };
        let functions = self.functions.iter().filter(|(symbol, _)| of(symbol));
        functions.cloned().collect()
    }

    /// Returns the call frame at `address` if the file describes it.
    ///
    /// # Panics
    /// If the call frames are malformed.
    #[must_use]
    pub fn frame(&self, address: u64) -> Option<Frame> {
        let file = object::File::parse(self.bytes.as_slice()).expect("was parsed before");
        let section = file.section_by_name(".eh_frame")?;
        let data = section.uncompressed_data().expect("a section has bytes");
        let mut frames = EhFrame::from(EndianSlice::new(&data, LittleEndian));
        frames.set_address_size(8);
        if self.is_arm {
            // Signed return addresses have their own call frame instruction on AArch64.
            frames.set_vendor(gimli::Vendor::AArch64);
        }
        let bases = BaseAddresses::default().set_eh_frame(section.address());
        let fde = frames
            .fde_for_address(&bases, address, EhFrame::cie_from_offset)
            .ok()?;
        let mut context = UnwindContext::new();
        let row = fde
            .unwind_info_for_address(&frames, &bases, &mut context, address)
            .expect("call frames are as the compiler wrote them");
        // DWARF numbers of the stack pointer; on x86-64 the call itself has pushed 8 bytes.
        let (pointer, pushed) = if self.is_arm { (31, 0) } else { (7, 8) };
        let depth = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } if register.0 == pointer => {
                u64::try_from(*offset - pushed).ok()
            }
            _ => None,
        };
        let range = fde.initial_address()..fde.initial_address() + fde.len();
        Some(Frame { range, depth })
    }

    /// Returns the linkage stubs (PLT) according to objdump: function name and instruction
    /// addresses.
    ///
    /// # Panics
    /// If objdump fails.
    #[must_use]
    pub fn stubs(&self) -> BTreeMap<String, BTreeSet<u64>> {
        let mut objdump = Command::new(if self.is_arm {
            "aarch64-linux-gnu-objdump"
        } else {
            "objdump"
        });
        objdump.args(["--disassemble", "--no-show-raw-insn", "--wide"]);
        let mut stubs: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let file = object::File::parse(self.bytes.as_slice()).expect("was parsed before");
        let names = [".plt", ".plt.sec", ".plt.got"];
        let existing: Vec<_> = names
            .iter()
            .filter(|name| file.section_by_name(name).is_some())
            .map(|name| format!("--section={name}"))
            .collect();
        // objdump fails if a named section does not exist.
        if existing.is_empty() {
            return stubs;
        }
        objdump.args(existing);
        let listing = run(objdump.arg(&self.path));
        let mut name = None;
        for line in listing.lines() {
            if let Some((_, label)) = line.split_once(" <")
                && let Some(label) = label.strip_suffix(">:")
            {
                name = label.strip_suffix("@plt").map(str::to_owned);
            } else if let Some((address, _)) = line.trim_start().split_once(":\t")
                && let Ok(address) = u64::from_str_radix(address, 16)
                && let Some(name) = &name
            {
                stubs.entry(name.clone()).or_default().insert(address);
            }
        }
        stubs
    }

    /// Returns the addresses of instructions according to objdump; on AArch64, multiples of four.
    ///
    /// # Panics
    /// If objdump fails.
    #[must_use]
    pub fn instructions(&self, range: &Range<u64>) -> BTreeSet<u64> {
        if self.is_arm {
            return range.clone().step_by(4).collect();
        }
        let listing = run(Command::new("objdump")
            .args(["--disassemble", "--no-show-raw-insn", "--wide"])
            .arg(format!("--start-address={:#x}", range.start))
            .arg(format!("--stop-address={:#x}", range.end))
            .arg(&self.path));
        let addresses = listing
            .lines()
            .filter_map(|line| line.trim_start().split_once(":\t"));
        addresses
            .filter_map(|(address, _)| u64::from_str_radix(address, 16).ok())
            .collect()
    }
}
