//! The latest set of cheap instructions of which exactly one runs on every exit path.
//!
//! Give the edge before and the edge after each instruction a phase, *running* or *over*. The phase
//! changes only at a probe, from running to over; at the entries it is running, after the exits it
//! is over. Unite all edges between which no probe is possible, then propagate "over" backwards
//! from the exits as far as necessary. If it does not reach the entries, the instructions at which
//! the phase changes are the latest cut: each path crosses it exactly once, and none of them is in
//! a loop, since a loop would have to change the phase back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use petgraph::unionfind::UnionFind;

use super::cfg::{Graph, Node};

/// Limit of exits for which a cut is searched.
const MAX_EXITS: usize = 5;
/// Limit of instructions and calls after a cut: longer code, and code with a loop, is not an
/// epilogue.
const MAX_TAIL: usize = 192;
const MAX_TAIL_CALLS: usize = 4;
/// Work of one instruction in the search for one cut, units.
const INSTRUCTION: u64 = 400;

/// The phases at the entries and after the exits, as members of the union-find.
const RUNNING: usize = 0;
const OVER: usize = 1;

/// A control-flow graph, and what its cut must cover.
pub(super) struct Problem<'p> {
    /// All control flow.
    pub(super) graph: &'p Graph,
    /// Stack depth at each instruction where it is known.
    pub(super) depths: &'p HashMap<u64, i64>,
    /// Instructions that run after the first call.
    pub(super) driven: &'p BTreeSet<u64>,
    /// First instructions of `driven`.
    pub(super) starts: &'p [u64],
    /// Exits to cover.
    pub(super) exits: &'p [u64],
    /// Instructions that run before any loop and any write to the state.
    pub(super) untouched: &'p BTreeSet<u64>,
    /// Whether the instruction may change what is read at an exit.
    pub(super) writes_state: &'p dyn Fn(&Node) -> bool,
}

/// The probe points of the exit paths.
pub(super) struct Cut {
    /// Addresses of the instructions.
    pub(super) points: BTreeSet<u64>,
    /// Kind of the cut, for people.
    pub(super) kind: &'static str,
}

/// Instructions that a cut may consist of.
#[derive(Clone, Copy)]
struct Rules<'r> {
    /// Exits that are probed themselves.
    plain: &'r BTreeSet<u64>,
    /// Emulated calls may be probed.
    with_calls: bool,
    /// A path that exits before any loop and any write may pass no probe. All messages are
    /// processed in loops, so such a drive ended before it began:
    /// `if (!SSL_clear(s)) return -1;` shares its return with all other paths and has no
    /// instruction of its own.
    early_exit: bool,
}

/// Edges of the graph, united where no probe can separate them.
struct Edges {
    sets: UnionFind<usize>,
    /// Instructions that may be probed, with their index.
    candidates: Vec<(u64, usize)>,
    /// Pairs of edges that an early exit may pass without a probe.
    early: Vec<(usize, usize)>,
}

/// The edge before the instruction with this index.
const fn before(index: usize) -> usize {
    2 + index * 2
}

/// The edge after the instruction with this index.
const fn after(index: usize) -> usize {
    3 + index * 2
}

impl Problem<'_> {
    /// Finds the cheapest acceptable cut: fewest plain returns first; then without calls.
    /// `branch_emulate_op` (arch/x86/kernel/uprobes.c) pushes a call's return address on the
    /// ordinary stack only, so a program with a user shadow stack might not survive an emulated
    /// call.
    pub(super) fn solve(&self) -> Option<Cut> {
        if self.exits.len() > MAX_EXITS {
            return None;
        }
        let mut choices: Vec<u32> = (0..(1 << self.exits.len()) - 1).collect();
        choices.sort_by_key(|plain| plain.count_ones());
        for early_exit in [false, true] {
            for choice in &choices {
                let plain = self.chosen_exits(*choice);
                let rules = |with_calls| Rules {
                    plain: &plain,
                    with_calls,
                    early_exit,
                };
                if let Some(points) = self.cut(rules(false)).or_else(|| self.cut(rules(true))) {
                    let kind = match early_exit {
                        false => "the latest cut of emulated instructions",
                        true => {
                            "the latest cut of emulated instructions, except exit paths before any \
                             loop"
                        }
                    };
                    return Some(Cut { points, kind });
                }
            }
        }
        None
    }

    /// The exits that the set bits of `choice` select.
    fn chosen_exits(&self, choice: u32) -> BTreeSet<u64> {
        let exits = self.exits.iter().enumerate();
        exits
            .filter(|(bit, _)| choice >> bit & 1 == 1)
            .map(|(_, at)| *at)
            .collect()
    }

    /// Finds the latest cut by `rules`.
    fn cut(&self, rules: Rules<'_>) -> Option<BTreeSet<u64>> {
        let work = self.driven.len() as u64 * INSTRUCTION;
        if !self.graph.work.charge(work) {
            return None;
        }
        let nodes: BTreeMap<u64, (usize, &Node)> = self
            .driven
            .iter()
            .enumerate()
            .filter_map(|(index, at)| Some((*at, (index, self.graph.nodes.get(at)?))))
            .collect();
        let mut edges = self.unite(&nodes, rules);
        let over = edges.spread_over();
        let mut is_over = |edge: usize| over.contains(&edges.sets.find_mut(edge));
        if is_over(RUNNING) {
            return None;
        }
        let mut cut = BTreeSet::new();
        for (at, index) in edges.candidates {
            if !is_over(before(index)) && is_over(after(index)) {
                cut.insert(at);
            }
        }
        // A call that does not return (the stack protector's) is on no exit path.
        let tail: Vec<&Node> = nodes
            .values()
            .filter(|(index, node)| {
                is_over(before(*index)) && (node.is_exit || !node.next.is_empty())
            })
            .map(|(_, node)| *node)
            .collect();
        (!cut.is_empty() && self.is_epilogue(&tail)).then_some(cut)
    }

    /// Unites the edges between which no probe is possible.
    fn unite(&self, nodes: &BTreeMap<u64, (usize, &Node)>, rules: Rules<'_>) -> Edges {
        let mut sets = UnionFind::new(2 + self.driven.len() * 2);
        let mut candidates = Vec::new();
        let mut early = Vec::new();
        for (at, (index, node)) in nodes {
            let (index, at) = (*index, *at);
            let emulated = node.insn.emulated
                && self.depths.contains_key(&at)
                && (rules.with_calls || !node.insn.is_call());
            if (rules.plain.contains(&at) || emulated) && !node.insn.refused {
                candidates.push((at, index));
            } else {
                sets.union(before(index), after(index));
            }
            if self.exits.contains(&at) {
                sets.union(after(index), OVER);
            }
            if (self.writes_state)(node) {
                sets.union(before(index), RUNNING);
            }
            for (next, _) in node.next.iter().filter_map(|next| nodes.get(next)) {
                if rules.early_exit && self.untouched.contains(&at) {
                    early.push((after(index), before(*next)));
                } else {
                    sets.union(after(index), before(*next));
                }
            }
        }
        for start in self.starts {
            if let Some((index, _)) = nodes.get(start) {
                sets.union(before(*index), RUNNING);
            }
        }
        Edges {
            sets,
            candidates,
            early,
        }
    }

    /// Whether the instructions after a cut are a function's short end, without loops.
    fn is_epilogue(&self, tail: &[&Node]) -> bool {
        let addresses: BTreeSet<u64> = tail.iter().map(|node| node.insn.at).collect();
        let calls = tail.iter().filter(|node| node.insn.is_call()).count();
        tail.len() <= MAX_TAIL
            && calls <= MAX_TAIL_CALLS
            && self.graph.acyclic_prefix(&addresses).len() == addresses.len()
    }
}

impl Edges {
    /// Returns the sets of edges that must be over: an edge that is over before an instruction
    /// that may be probed is over after it, too, and so along an early exit.
    fn spread_over(&mut self) -> HashSet<usize> {
        let mut spreads: HashMap<usize, Vec<usize>> = HashMap::new();
        let candidates = self.candidates.iter();
        let pairs = candidates
            .map(|(_, index)| (before(*index), after(*index)))
            .chain(self.early.iter().copied());
        for (from, to) in pairs {
            let set = self.sets.find_mut(from);
            let reached = self.sets.find_mut(to);
            spreads.entry(set).or_default().push(reached);
        }
        let mut over = HashSet::new();
        let mut todo = vec![self.sets.find_mut(OVER)];
        while let Some(set) = todo.pop() {
            if over.insert(set) {
                todo.extend(spreads.get(&set).into_iter().flatten());
            }
        }
        over
    }
}
