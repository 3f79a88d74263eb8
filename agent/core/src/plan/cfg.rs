//! The control flow of one function and all it jumps to: instructions, their successors, and the ways out.
//!
//! Built for `statem` (where do two functions meet?) and `exits` (what runs on every way out?). Calls are stepped over,
//! jumps are followed, switches are read from their tables. At most [`MAX_INSNS`] instructions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::NoPlan;
use super::elf::Image;
use super::isa::{Flow, Insn, Isa, Stack};

/// Instructions followed from one set of entries, at most. `state_machine` has 700.
const MAX_INSNS: usize = 8192;
/// Ways from one instruction to another, at most.
const MAX_EDGES: usize = 4 * MAX_INSNS;
/// Instructions before a computed jump in which its table is looked for.
const MAX_PATH: usize = 1024;
/// Instructions of a called function that are looked at to see that it does not come back.
const MAX_CALLEE: usize = 16;
/// Functions that do not come back, by the names the C library and OpenSSL give them.
pub(super) const NO_RETURN: [&[u8]; 8] = [
    b"__stack_chk_fail",
    b"abort",
    b"exit",
    b"_exit",
    b"__assert_fail",
    b"__chk_fail",
    b"__fortify_fail",
    b"OPENSSL_die",
];

/// One instruction in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// The instruction.
    pub(super) insn: Insn,
    /// Addresses control may go to next. Empty where it leaves, or where a call does not come back.
    pub(super) next: Vec<u64>,
    /// Control leaves the function here: a return, or a jump out of the image.
    pub(super) leaves: bool,
}

/// Everything that control can reach from the entries.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// By address.
    pub(super) nodes: BTreeMap<u64, Node>,
    /// Computed jumps that no table explains.
    pub(super) unresolved: BTreeSet<u64>,
}

impl Graph {
    /// Follows control from `entries`.
    pub(super) fn walk(isa: &dyn Isa, image: &Image<'_>, entries: &[u64]) -> Result<Self, NoPlan> {
        let mut graph = Self::default();
        // How each address was first reached: the way back is a path that was really taken.
        let mut reached_from: HashMap<u64, u64> = HashMap::new();
        let mut seen: HashSet<u64> = entries.iter().copied().collect();
        let mut todo = entries.to_vec();
        let mut edges = 0;
        while let Some(at) = todo.pop() {
            if graph.nodes.len() >= MAX_INSNS || edges > MAX_EDGES {
                return Err(NoPlan::TooLarge { limit: MAX_INSNS });
            }
            let insn = isa.lift(image, at).ok_or(NoPlan::Undecodable { at })?;
            let (next, leaves) = match insn.flow {
                Flow::JumpIndirect(None) => {
                    let mut path = vec![at];
                    let mut step = at;
                    while let Some(earlier) = reached_from.get(&step)
                        && path.len() < MAX_PATH
                    {
                        path.push(*earlier);
                        step = *earlier;
                    }
                    path.reverse();
                    let targets = isa.switch(image, &path).unwrap_or_default();
                    if targets.is_empty() {
                        graph.unresolved.insert(at);
                    }
                    (targets, false)
                }
                _ => successors(isa, image, &insn),
            };
            edges += next.len();
            for target in next.iter().rev() {
                if seen.insert(*target) {
                    reached_from.insert(*target, at);
                    todo.push(*target);
                }
            }
            graph.nodes.insert(at, Node { insn, next, leaves });
        }
        Ok(graph)
    }

    /// The addresses reachable from `starts`, stepping from a node only where `through` allows it.
    pub(super) fn closure(&self, starts: &[u64], through: impl Fn(&Node) -> bool) -> BTreeSet<u64> {
        let mut reached = BTreeSet::new();
        let mut todo = starts.to_vec();
        while let Some(at) = todo.pop() {
            let Some(node) = self.nodes.get(&at) else {
                continue;
            };
            if reached.insert(at) && through(node) {
                todo.extend(&node.next);
            }
        }
        reached
    }

    /// Those of `within` that run before any loop: instructions are taken away while nothing left leads to them, which stops
    /// at loops.
    pub(super) fn before_loops(&self, within: &BTreeSet<u64>) -> BTreeSet<u64> {
        let next = |at: u64| {
            self.nodes
                .get(&at)
                .into_iter()
                .flat_map(|node| node.next.iter().copied())
        };
        let mut arrivals: HashMap<u64, usize> = within.iter().map(|at| (*at, 0)).collect();
        for at in within.iter().flat_map(|at| next(*at)) {
            if let Some(count) = arrivals.get_mut(&at) {
                *count += 1;
            }
        }
        let mut todo: Vec<u64> = arrivals
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(at, _)| *at)
            .collect();
        let mut taken = BTreeSet::new();
        while let Some(at) = todo.pop() {
            taken.insert(at);
            for at in next(at) {
                if let Some(count) = arrivals.get_mut(&at) {
                    *count -= 1;
                    if *count == 0 {
                        todo.push(at);
                    }
                }
            }
        }
        taken
    }

    /// Stack depth before each instruction: stack pointer there minus stack pointer at entry; absent where it is not one
    /// known constant.
    pub(super) fn depths(&self, entries: &[u64]) -> HashMap<u64, i64> {
        // Known stack and frame pointer; the meet of two different values is unknown, so this ends.
        type State = (Option<i64>, Option<i64>);
        let mut states: HashMap<u64, State> = HashMap::new();
        let mut todo: Vec<(u64, State)> = entries.iter().map(|at| (*at, (Some(0), None))).collect();
        while let Some((at, arriving)) = todo.pop() {
            let Some(node) = self.nodes.get(&at) else {
                continue;
            };
            let state = match states.get(&at) {
                Some(known) => {
                    let met = (
                        known.0.filter(|_| known.0 == arriving.0),
                        known.1.filter(|_| known.1 == arriving.1),
                    );
                    if met == *known {
                        continue;
                    }
                    met
                }
                None => arriving,
            };
            states.insert(at, state);
            let (stack, frame) = state;
            let after = match node.insn.stack {
                Stack::Keep => state,
                Stack::Move(bytes) => (stack.and_then(|stack| stack.checked_add(bytes)), frame),
                Stack::MoveFrameLost(bytes) => {
                    (stack.and_then(|stack| stack.checked_add(bytes)), None)
                }
                Stack::Frame(bytes) => (stack, stack.and_then(|stack| stack.checked_add(bytes))),
                Stack::Restore(bytes) => (frame.and_then(|frame| frame.checked_add(bytes)), frame),
                Stack::Leave => (frame.and_then(|frame| frame.checked_add(8)), None),
                Stack::FrameLost => (stack, None),
                Stack::Lost => (None, frame),
            };
            todo.extend(node.next.iter().map(|next| (*next, after)));
        }
        states
            .into_iter()
            .filter_map(|(at, (stack, _))| Some((at, stack?)))
            .collect()
    }
}

/// Where control goes after an instruction, and whether it leaves there.
fn successors(isa: &dyn Isa, image: &Image<'_>, insn: &Insn) -> (Vec<u64>, bool) {
    // Compilers let no function run into the next one: code "after" a call that ends there is not reached.
    let after = (!image.is_function_start(insn.next)).then_some(insn.next);
    match insn.flow {
        Flow::Next => (after.into_iter().collect(), false),
        Flow::Jump(target) => match outside(isa, image, target) {
            Some(_) => (Vec::new(), true),
            None => (vec![target], false),
        },
        Flow::Branch(target) => (after.into_iter().chain([target]).collect(), false),
        Flow::Call(target) => match outside(isa, image, target) {
            Some(name) if NO_RETURN.contains(&name) => (Vec::new(), false),
            _ if NO_RETURN.iter().any(|name| is_symbol(image, name, target)) => (Vec::new(), false),
            // Without names and unwind tables, as in a static program, only its code tells.
            _ if !image.knows_functions() && never_returns(isa, image, target, 1) => {
                (Vec::new(), false)
            }
            _ => (after.into_iter().collect(), false),
        },
        Flow::CallIndirect(word) => match word.and_then(|word| image.import(word)) {
            Some(name) if NO_RETURN.contains(&name) => (Vec::new(), false),
            _ => (after.into_iter().collect(), false),
        },
        Flow::JumpIndirect(Some(word)) => match image.import(word) {
            Some(_) => (Vec::new(), true),
            None => match image.pointer(word).filter(|target| image.is_code(*target)) {
                Some(target) => (vec![target], false),
                None => (Vec::new(), true),
            },
        },
        Flow::JumpIndirect(None) | Flow::Trap => (Vec::new(), false),
        Flow::Return => (Vec::new(), true),
    }
}

fn is_symbol(image: &Image<'_>, name: &[u8], at: u64) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| image.symbol(name) == Some(at))
}

/// No return can be reached in the function at `function`, which is short: `__stack_chk_fail` of a static program. Functions that it
/// calls are looked at in the same way, `levels` deep.
fn never_returns(isa: &dyn Isa, image: &Image<'_>, function: u64, levels: usize) -> bool {
    let mut seen = BTreeSet::from([function]);
    let mut todo = vec![function];
    while let Some(at) = todo.pop() {
        let Some(insn) = isa.lift(image, at) else {
            return false;
        };
        let next = match insn.flow {
            Flow::Next | Flow::CallIndirect(_) => vec![insn.next],
            Flow::Call(target) if levels > 0 && never_returns(isa, image, target, levels - 1) => {
                Vec::new()
            }
            Flow::Call(_) => vec![insn.next],
            Flow::Jump(target) => vec![target],
            Flow::Branch(target) => vec![insn.next, target],
            Flow::Trap => Vec::new(),
            Flow::Return | Flow::JumpIndirect(_) => return false,
        };
        todo.extend(next.into_iter().filter(|at| seen.insert(*at)));
        if seen.len() > MAX_CALLEE {
            return false;
        }
    }
    true
}

/// Name of the function of another image that a linkage stub (PLT) at `target` jumps to.
fn outside<'a>(isa: &dyn Isa, image: &Image<'a>, target: u64) -> Option<&'a [u8]> {
    let mut at = target;
    // On x86-64 at most `endbr64` and one more instruction come first, on AArch64 `bti` and four that compute the address.
    for _ in 0..6 {
        let insn = isa.lift(image, at)?;
        match insn.flow {
            Flow::JumpIndirect(Some(word)) => return image.import(word),
            Flow::Next => at = insn.next,
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::isa;
    use super::super::tests::{CODE, elf_of, image_of};
    use super::*;

    #[test]
    fn only_code_without_a_way_back_never_returns() {
        let never = |code: &[u8]| {
            let bytes = elf_of(code);
            let image = image_of(&bytes);
            let isa = isa::for_machine(image.machine).expect("x86-64");
            never_returns(isa.as_ref(), &image, CODE, 1)
        };
        // __stack_chk_fail and __fortify_fail of a static glibc, in short.
        assert!(never(&[
            0x48, 0x83, 0xec, 0x08, // sub rsp, 8
            0xe8, 0x01, 0, 0, 0,    // call a
            0xc3, // ret: never reached
            0x53, // a: push rbx
            0xe8, 0, 0, 0, 0, // call
            0xeb, 0xf9, // jmp
        ]));
        assert!(!never(&[0x53, 0x74, 0x01, 0xf4, 0x5b, 0xc3])); // push; je; hlt; pop; ret
        assert!(!never(&[0xff, 0xe0])); // jmp rax
        assert!(!never(&[0x90; 64]));
    }
}
