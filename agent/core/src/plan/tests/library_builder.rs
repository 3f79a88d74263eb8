//! A builder of small x86-64 libraries.

use super::super::{Images, Plan, PlanError, plan};
use super::{CODE, elf_from_code};

/// A file without section headers: code, followed by the tables of the dynamic segment.
#[derive(Default)]
pub(super) struct LibraryBuilder {
    code: Vec<u8>,
    /// Functions with a symbol, and their addresses.
    pub(super) functions: Vec<(&'static str, u64)>,
    /// Relocated words, and the addresses that they point to.
    pointers: Vec<(u64, u64)>,
}

impl LibraryBuilder {
    /// Address of the next byte.
    pub(super) fn here(&self) -> u64 {
        CODE + self.code.len() as u64
    }

    /// Adds code or data at an address that is a multiple of 16.
    pub(super) fn add(&mut self, bytes: &[u8]) -> u64 {
        self.code.resize(self.code.len().next_multiple_of(16), 0xcc);
        let at = self.here();
        self.code.extend(bytes);
        at
    }

    /// Adds a function with a name.
    pub(super) fn function(&mut self, name: &'static str, bytes: &[u8]) -> u64 {
        let at = self.add(bytes);
        self.functions.push((name, at));
        at
    }

    /// Adds `mov eax, [rdi + offset]; ret`.
    pub(super) fn accessor(&mut self, name: &'static str, offset: u8) {
        self.function(name, &[0x8b, 0x47, offset, 0xc3]);
    }

    /// Adds `mov eax, address; ret`.
    pub(super) fn constant(&mut self, name: &'static str, address: u64) {
        let mut code = vec![0xb8];
        code.extend((address as u32).to_le_bytes());
        code.push(0xc3);
        self.function(name, &code);
    }

    /// Adds `head`, followed by a pointer to each function.
    pub(super) fn table(&mut self, head: &[u64], functions: &[u64]) -> u64 {
        let head: Vec<u8> = head.iter().flat_map(|word| word.to_le_bytes()).collect();
        let at = self.add(&head);
        for function in functions {
            self.pointers.push((self.here(), *function));
            self.code.extend([0; 8]);
        }
        self.code.extend([0; 8]);
        at
    }

    /// Builds the file.
    pub(super) fn file(&self) -> Vec<u8> {
        let mut body = self.clone_code();
        let word = |body: &mut Vec<u8>, value: u64| body.extend(value.to_le_bytes());
        let mut names = vec![0];
        let symbols = CODE + body.len() as u64;
        body.extend([0; 24]);
        for (name, at) in &self.functions {
            body.extend((names.len() as u32).to_le_bytes());
            body.extend([0x12, 0, 1, 0]); // STB_GLOBAL, STT_FUNC; defined
            word(&mut body, *at);
            word(&mut body, 1);
            names.extend(name.as_bytes());
            names.push(0);
        }
        let strings = CODE + body.len() as u64;
        let size = names.len() as u64;
        body.extend(names);
        body.resize(body.len().next_multiple_of(8), 0);
        let relocations = CODE + body.len() as u64;
        for (at, value) in &self.pointers {
            [*at, 8, *value]
                .iter()
                .for_each(|value| word(&mut body, *value)); // R_X86_64_RELATIVE
        }
        let dynamic = body.len() as u64;
        let count = self.pointers.len() as u64;
        for (tag, value) in [
            (5, strings),
            (10, size),
            (6, symbols),
            (7, relocations),
            (8, count * 24),
            (0, 0),
        ] {
            word(&mut body, tag);
            word(&mut body, value);
        }
        let mut file = elf_from_code(&body);
        // The second program header overwrites the first bytes of the code, which `new` reserves.
        file[56] = 2;
        let at = 64 + 56;
        file[at..at + 8].copy_from_slice(&[2, 0, 0, 0, 4, 0, 0, 0]); // PT_DYNAMIC
        let start = at as u64 + dynamic;
        for (index, value) in [start, CODE + dynamic, CODE + dynamic, 96, 96, 8]
            .iter()
            .enumerate()
        {
            let at = at + 8 + index * 8;
            file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        file
    }

    fn clone_code(&self) -> Vec<u8> {
        let mut code = self.code.clone();
        code.resize(code.len().next_multiple_of(8), 0);
        code
    }

    /// Creates a file with space for the second program header.
    pub(super) fn new() -> Self {
        Self {
            code: vec![0; 64],
            ..Self::default()
        }
    }

    pub(super) fn plan(&self) -> Result<Plan, PlanError> {
        plan(Images {
            ssl: &self.file(),
            crypto: None,
        })
    }
}
