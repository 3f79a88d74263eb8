//! The control-flow graph of functions and of all code that they jump to.
//!
//! Calls are stepped over, jumps are followed, switches are read from their tables. At most
//! [`MAX_INSNS`] instructions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::elf::{Image, NO_RETURN};
use super::error::PlanError;
use super::insn::{Flow, Insn, Stack};
use super::isa::Isa;
use super::work::Work;

/// Limit of instructions in one graph. `state_machine` has 700.
const MAX_INSNS: usize = 8192;
/// Limit of edges in one graph.
const MAX_EDGES: usize = 4 * MAX_INSNS;
/// Limit of instructions before a computed jump in which its table is searched.
const MAX_PATH: usize = 1024;
/// Limit of instructions of a called function that is checked for a return.
const MAX_CALLEE: usize = 16;
/// Limit of instructions of a linkage stub. On x86-64 at most `endbr64` and one more instruction
/// precede the jump, on AArch64 `bti` and four that compute the address.
const MAX_STUB: usize = 6;
/// Work of one instruction in a graph, and of one visit by a walk over it, units.
const NODE: u64 = 500;
const VISIT: u64 = 60;

/// One instruction in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// The instruction.
    pub(super) insn: Insn,
    /// Addresses of the possible successors. Empty at an exit, and at a call that does not return.
    pub(super) next: Vec<u64>,
    /// Control leaves the function here, by a return or a jump out of the image.
    pub(super) is_exit: bool,
}

/// All instructions that control can reach from the entries.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Instructions by address.
    pub(super) nodes: BTreeMap<u64, Node>,
    /// Computed jumps without a known table.
    pub(super) unresolved: BTreeSet<u64>,
    /// The work to which walks are charged.
    pub(super) work: Work,
}

/// Stack pointer and frame pointer relative to the stack pointer at entry, where known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StackState {
    stack: Option<i64>,
    frame: Option<i64>,
}

impl StackState {
    /// The state at a function's entry.
    const ENTRY: Self = Self {
        stack: Some(0),
        frame: None,
    };

    /// Returns what is true on both of two paths.
    fn meet(self, other: Self) -> Self {
        Self {
            stack: self.stack.filter(|_| self.stack == other.stack),
            frame: self.frame.filter(|_| self.frame == other.frame),
        }
    }

    /// Returns the state after an instruction.
    fn after(self, effect: Stack) -> Self {
        let Self { stack, frame } = self;
        let add = |register: Option<i64>, bytes| register.and_then(|at| at.checked_add(bytes));
        let (stack, frame) = match effect {
            Stack::Keep => (stack, frame),
            Stack::Move(bytes) => (add(stack, bytes), frame),
            Stack::MoveFrameLost(bytes) => (add(stack, bytes), None),
            Stack::Frame(bytes) => (stack, add(stack, bytes)),
            Stack::Restore(bytes) => (add(frame, bytes), frame),
            Stack::Leave => (add(frame, 8), None),
            Stack::FrameLost => (stack, None),
            Stack::Lost => (None, frame),
        };
        Self { stack, frame }
    }
}

impl Graph {
    /// Builds the graph of all code that control reaches from `entries`.
    pub(super) fn build(
        isa: &dyn Isa,
        image: &Image<'_>,
        entries: &[u64],
    ) -> Result<Self, PlanError> {
        let mut graph = Self {
            work: image.work().clone(),
            ..Self::default()
        };
        // The first predecessor of each address: following it back gives an executable path.
        let mut reached_from: HashMap<u64, u64> = HashMap::new();
        let mut seen: HashSet<u64> = entries.iter().copied().collect();
        let mut todo = entries.to_vec();
        let mut edges = 0;
        while let Some(at) = todo.pop() {
            if graph.nodes.len() >= MAX_INSNS || edges > MAX_EDGES {
                return Err(PlanError::TooLarge { limit: MAX_INSNS });
            }
            // The file's own count asks whether to continue.
            if !image.charge(NODE) {
                return Err(PlanError::TooMuchWork);
            }
            let insn = isa.lift(image, at).ok_or(PlanError::Undecodable { at })?;
            let (next, is_exit) = match insn.flow {
                Flow::JumpIndirect(None) => {
                    let path = path_to(at, &reached_from);
                    let targets = isa.jump_table_targets(image, &path).unwrap_or_default();
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
            let node = Node {
                insn,
                next,
                is_exit,
            };
            graph.nodes.insert(at, node);
        }
        Ok(graph)
    }

    /// Returns the addresses of the instructions that satisfy `wanted`.
    pub(super) fn addresses(&self, wanted: impl Fn(&Node) -> bool) -> BTreeSet<u64> {
        let nodes = self.nodes.values().filter(|node| wanted(node));
        nodes.map(|node| node.insn.at).collect()
    }

    /// Returns the addresses reachable from `starts`, without the successors of nodes that
    /// `through` rejects.
    pub(super) fn reachable(
        &self,
        starts: &[u64],
        through: impl Fn(&Node) -> bool,
    ) -> BTreeSet<u64> {
        let mut reached = BTreeSet::new();
        let mut todo = starts.to_vec();
        while let Some(at) = todo.pop() {
            let Some(node) = self.nodes.get(&at) else {
                continue;
            };
            if !self.work.charge(VISIT) {
                break;
            }
            if reached.insert(at) && through(node) {
                todo.extend(&node.next);
            }
        }
        reached
    }

    /// Returns those of `within` that no loop precedes: the longest prefix of a topological order.
    pub(super) fn acyclic_prefix(&self, within: &BTreeSet<u64>) -> BTreeSet<u64> {
        let next = |at: u64| {
            self.nodes
                .get(&at)
                .into_iter()
                .flat_map(|node| node.next.iter().copied())
        };
        if !self.work.charge(within.len() as u64 * 2 * VISIT) {
            return BTreeSet::new();
        }
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
        let mut prefix = BTreeSet::new();
        while let Some(at) = todo.pop() {
            prefix.insert(at);
            for at in next(at) {
                if let Some(count) = arrivals.get_mut(&at) {
                    *count -= 1;
                    if *count == 0 {
                        todo.push(at);
                    }
                }
            }
        }
        prefix
    }

    /// Returns the stack depth before each instruction: stack pointer there minus stack pointer at
    /// entry. Absent where it is not one known constant.
    pub(super) fn depths(&self, entries: &[u64]) -> HashMap<u64, i64> {
        // Terminates since the meet of two different values is unknown.
        let mut states: HashMap<u64, StackState> = HashMap::new();
        let mut todo: Vec<(u64, StackState)> =
            entries.iter().map(|at| (*at, StackState::ENTRY)).collect();
        while let Some((at, arriving)) = todo.pop() {
            let Some(node) = self.nodes.get(&at) else {
                continue;
            };
            if !self.work.charge(VISIT) {
                break;
            }
            let known = states.get(&at).copied();
            let state = known.map_or(arriving, |known| known.meet(arriving));
            if known == Some(state) {
                continue;
            }
            states.insert(at, state);
            let after = state.after(node.insn.stack);
            todo.extend(node.next.iter().map(|next| (*next, after)));
        }
        states
            .into_iter()
            .filter_map(|(at, state)| Some((at, state.stack?)))
            .collect()
    }
}

/// The path that led to `at`, oldest address first.
fn path_to(at: u64, reached_from: &HashMap<u64, u64>) -> Vec<u64> {
    let mut path = vec![at];
    let mut step = at;
    while let Some(earlier) = reached_from.get(&step)
        && path.len() < MAX_PATH
    {
        path.push(*earlier);
        step = *earlier;
    }
    path.reverse();
    path
}

/// The successors of an instruction, and whether control leaves the function there.
fn successors(isa: &dyn Isa, image: &Image<'_>, insn: &Insn) -> (Vec<u64>, bool) {
    // No function continues in the next one: code after a call at a function's end is not reached.
    let after = (!image.is_function_start(insn.next)).then_some(insn.next);
    match insn.flow {
        Flow::Next => (after.into_iter().collect(), false),
        Flow::Jump(target) => match imported_function(isa, image, target) {
            Some(_) => (Vec::new(), true),
            None => (vec![target], false),
        },
        Flow::Branch(target) => (after.into_iter().chain([target]).collect(), false),
        Flow::Call(target) => match imported_function(isa, image, target) {
            Some(name) if NO_RETURN.contains(&name) => (Vec::new(), false),
            _ if NO_RETURN.iter().any(|name| is_symbol(image, name, target)) => (Vec::new(), false),
            // In a static program without symbols and unwind tables, only its code shows whether a
            // function returns.
            _ if !image.has_unwind_table() && never_returns(isa, image, target, 1) => {
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

/// Whether the function at `function` is short and reaches no return, as `__stack_chk_fail` of a
/// static program. The functions that it calls are checked in the same way, `levels` deep.
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
fn imported_function<'a>(isa: &dyn Isa, image: &Image<'a>, target: u64) -> Option<&'a [u8]> {
    let mut at = target;
    for _ in 0..MAX_STUB {
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
    use super::super::machine;
    use super::super::tests::{CODE, elf_from_code, image_from_file};
    use super::*;

    #[test]
    fn function_without_a_reachable_return_never_returns() {
        let never = |code: &[u8]| {
            let bytes = elf_from_code(code);
            let image = image_from_file(&bytes);
            let isa = machine::isa_for(image.machine).expect("x86-64");
            never_returns(isa.as_ref(), &image, CODE, 1)
        };
        // __stack_chk_fail and __fortify_fail of a static glibc, shortened.
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
