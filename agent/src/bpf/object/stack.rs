//! How much stack the embedded programs take on the deepest way through their calls, by the rule of kernels before 6.12 or so, which
//! round each frame up to 32 bytes (`check_max_stack_depth`, kernel/bpf/verifier.c of 5.4). The verifier of the kernel that tests run
//! on is more generous.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use aya_obj::{Object as BpfObject, generated::bpf_insn};

use super::{Object, object};

/// `MAX_BPF_STACK`, bytes.
const MAX: u32 = 512;
/// Frames are multiples of it, bytes.
const FRAME: u32 = 32;
/// The frame pointer.
const R10: u8 = 10;

const OBJECTS: [(&str, Object); 4] = [
    ("handshake", object!("handshake")),
    ("tcp", object!("tcp")),
    ("canary", object!("canary")),
    ("wire", object!("wire")),
];

/// Where the function called by the instruction at `at` begins, if it is a call of a function of the program.
fn callee(insns: &[bpf_insn], at: usize) -> Option<usize> {
    let insn = &insns[at];
    let calls = insn.code == 0x85 && insn.src_reg() == 1;
    calls.then(|| (at as i64 + i64::from(insn.imm) + 1) as usize)
}

/// Bytes below the frame pointer that a function reaches: by loads and stores, and by addresses that it makes.
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

/// The most that the function at `start` and those it calls take.
fn deepest(insns: &[bpf_insn], starts: &BTreeSet<usize>, start: usize) -> u32 {
    let end = starts.range(start + 1..).next();
    let end = end.copied().unwrap_or(insns.len());
    let own = reach(&insns[start..end]).max(1).next_multiple_of(FRAME);
    let called = (start..end).filter_map(|at| callee(insns, at));
    let below = called.map(|function| deepest(insns, starts, function));
    own + below.max().unwrap_or(0)
}

/// By program.
fn depths(bytes: &[u8]) -> BTreeMap<String, u32> {
    let mut object = BpfObject::parse(bytes).expect("an object that aya takes");
    let text: HashSet<usize> = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    object
        .relocate_calls(&text)
        .expect("calls that lead somewhere");
    let programs = object.programs.iter().map(|(name, program)| {
        let insns = &object.functions[&program.function_key()].instructions;
        let starts = (0..insns.len()).filter_map(|at| callee(insns, at));
        let starts: BTreeSet<usize> = starts.chain([0]).collect();
        (name.clone(), deepest(insns, &starts, 0))
    });
    programs.collect()
}

#[test]
fn no_program_takes_more_stack_than_older_kernels_give() {
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

/// That the test above can fail: the programs with the deepest calls are seen to have some depth.
#[test]
fn calls_add_up() {
    let wire = depths(OBJECTS[3].1.ring);
    assert!(wire["wire_in"] > 256, "{wire:?}");
}
