//! Tests the stack size of the embedded programs along their deepest call chain, by the rule of
//! kernels before about 6.12, which round each frame up to 32 bytes (`check_max_stack_depth`,
//! kernel/bpf/verifier.c of 5.4). The verifier of the test host's kernel is less strict.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use aya_obj::{Object as BpfObject, generated::bpf_insn};

use super::{Object, object};

/// `MAX_BPF_STACK`, bytes.
const MAX: u32 = 512;
/// Frame sizes are rounded up to a multiple of this, bytes.
const FRAME: u32 = 32;
/// Number of the frame pointer register.
const R10: u8 = 10;

const OBJECTS: [(&str, Object); 5] = [
    ("handshake", object!("handshake")),
    ("tcp", object!("tcp")),
    ("canary", object!("canary")),
    ("wire", object!("wire")),
    ("cgroup", object!("cgroup")),
];

/// Start of the function that the instruction at `at` calls, if it calls a function of the program.
fn callee(insns: &[bpf_insn], at: usize) -> Option<usize> {
    let insn = &insns[at];
    let calls = insn.code == 0x85 && insn.src_reg() == 1;
    calls.then(|| (at as i64 + i64::from(insn.imm) + 1) as usize)
}

/// Number of bytes below the frame pointer that a function accesses or takes the address of.
fn reach(insns: &[bpf_insn]) -> u32 {
    let mut copies: HashSet<u8> = HashSet::new();
    let mut lowest = 0;
    for insn in insns {
        let (to, from) = (insn.dst_reg(), insn.src_reg());
        let memory = match insn.code & 7 {
            1 if from == R10 => Some(insn.off),
            2 | 3 if to == R10 => Some(insn.off),
            _ => None,
        };
        lowest = lowest.min(memory.map_or(0, i32::from));
        match insn.code {
            0xbf if from == R10 => {
                copies.insert(to);
            }
            0x07 if copies.contains(&to) => lowest = lowest.min(insn.imm),
            _ => {
                copies.remove(&to);
            }
        }
    }
    lowest.unsigned_abs()
}

/// Maximum stack size of the function at `start` and the functions it calls.
fn deepest(insns: &[bpf_insn], starts: &BTreeSet<usize>, start: usize) -> u32 {
    let end = starts.range(start + 1..).next();
    let end = end.copied().unwrap_or(insns.len());
    let own = reach(&insns[start..end]).max(1).next_multiple_of(FRAME);
    let called = (start..end).filter_map(|at| callee(insns, at));
    let below = called.map(|function| deepest(insns, starts, function));
    own + below.max().unwrap_or(0)
}

/// Maximum stack size by program.
fn depths(bytes: &[u8]) -> BTreeMap<String, u32> {
    let mut object = BpfObject::parse(bytes).expect("an object that aya parses");
    let text: HashSet<usize> = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    object
        .relocate_calls(&text)
        .expect("calls of known functions");
    let programs = object.programs.iter().map(|(name, program)| {
        let insns = &object.functions[&program.function_key()].instructions;
        let starts = (0..insns.len()).filter_map(|at| callee(insns, at));
        let starts: BTreeSet<usize> = starts.chain([0]).collect();
        (name.clone(), deepest(insns, &starts, 0))
    });
    programs.collect()
}

#[test]
fn no_program_exceeds_the_stack_limit_of_older_kernels() {
    for (name, object) in &OBJECTS {
        for bytes in [object.ring, object.perf] {
            let depths = depths(bytes);
            assert!(!depths.is_empty(), "{name} has no programs");
            assert!(
                depths.values().all(|depth| *depth <= MAX),
                "{name}: {depths:?}"
            );
        }
    }
}

/// Shows that the test above can fail: the program with the deepest calls has a large stack.
#[test]
fn stack_sizes_of_called_functions_are_added() {
    let wire = depths(OBJECTS[3].1.ring);
    assert!(wire["wire_in"] > 256, "{wire:?}");
}
