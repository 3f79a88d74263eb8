//! The latest set of cheap instructions of which exactly one runs on every way out.
//!
//! Called by `exits`. Give the stretch before and the stretch after each instruction a phase, *running* or *over*. The phase
//! changes only at a probe, from running to over; where control begins is running, ways out are over. Unite all stretches
//! between which nothing may be probed, then let "over" spread from the ways out as far as it must. If it does not reach
//! the beginning, the instructions at which the phase changes are the latest cut: each path crosses it exactly once, and
//! none of them is in a loop, since a loop would have to change the phase back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::cfg::{Graph, Node};

/// With more ways out than this no cut is looked for.
const MAX_SPLIT: usize = 5;
/// Instructions and calls that may follow a cut: more is no epilogue, and neither is a loop.
const MAX_TAIL: usize = 192;
const MAX_TAIL_CALLS: usize = 4;

/// What is to be cut.
pub(super) struct Problem<'p> {
    /// All control flow.
    pub(super) graph: &'p Graph,
    /// Stack depth at each instruction where it is known.
    pub(super) depths: &'p HashMap<u64, i64>,
    /// What runs after the first call.
    pub(super) driven: &'p BTreeSet<u64>,
    /// Where `driven` begins.
    pub(super) starts: &'p [u64],
    /// Ways out to cover.
    pub(super) kept: &'p [u64],
    /// What runs before any loop and any write to the state.
    pub(super) untouched: &'p BTreeSet<u64>,
    /// The instruction may change what is read at an exit.
    pub(super) writes_state: &'p dyn Fn(&Node) -> bool,
}

/// What a cut may consist of.
#[derive(Clone, Copy)]
struct Rules<'r> {
    /// Ways out that are probed themselves.
    plain: &'r BTreeSet<u64>,
    /// Emulated calls may be probed.
    with_calls: bool,
    /// A way that leaves before any loop and any write may pass no probe. All messages are processed in loops, so such a
    /// drive ended before it began: `if (!SSL_clear(s)) return -1;` shares
    /// its return with all others, and no instruction is its own.
    early_leave: bool,
}

impl Problem<'_> {
    /// The cheapest acceptable cut: fewest plain returns first; then without calls. `branch_emulate_op`
    /// (arch/x86/kernel/uprobes.c) pushes a call's return address on the ordinary stack only, so an emulated call is the one
    /// choice that a program with a user shadow stack might not survive.
    pub(super) fn solve(&self) -> Option<(BTreeSet<u64>, &'static str)> {
        if self.kept.len() > MAX_SPLIT {
            return None;
        }
        let mut choices: Vec<u32> = (0..(1 << self.kept.len()) - 1).collect();
        choices.sort_by_key(|plain| plain.count_ones());
        let plain_of = |choice: u32| -> BTreeSet<u64> {
            self.kept
                .iter()
                .enumerate()
                .filter(|(bit, _)| choice >> bit & 1 == 1)
                .map(|(_, at)| *at)
                .collect()
        };
        for early_leave in [false, true] {
            for choice in &choices {
                let plain = plain_of(*choice);
                let rules = |with_calls| Rules {
                    plain: &plain,
                    with_calls,
                    early_leave,
                };
                if let Some(cut) = self.cut(rules(false)).or_else(|| self.cut(rules(true))) {
                    let kind = match early_leave {
                        false => "the latest cut of emulated instructions",
                        true => {
                            "the latest cut of emulated instructions, but for ways out before any loop"
                        }
                    };
                    return Some((cut, kind));
                }
            }
        }
        None
    }

    /// The latest cut by `rules`.
    fn cut(&self, rules: Rules<'_>) -> Option<BTreeSet<u64>> {
        let nodes: BTreeMap<u64, (usize, &Node)> = self
            .driven
            .iter()
            .enumerate()
            .filter_map(|(index, at)| Some((*at, (index, self.graph.nodes.get(at)?))))
            .collect();
        // Stretch 0 is before everything, 1 after everything; each instruction has one before and one after it.
        let (running, over) = (0, 1);
        let before = |index: usize| 2 + index * 2;
        let after = |index: usize| 3 + index * 2;
        let mut stretches = Union::new(2 + nodes.len() * 2);
        let mut candidates = Vec::new();
        let mut early = Vec::new();
        for (at, (index, node)) in &nodes {
            let emulated = node.insn.emulated
                && self.depths.contains_key(at)
                && (rules.with_calls || !node.insn.is_call());
            let leaves = self.kept.contains(at);
            if (rules.plain.contains(at) || emulated) && !node.insn.refused {
                candidates.push((*at, before(*index), after(*index)));
            } else {
                stretches.unite(before(*index), after(*index));
            }
            if leaves {
                stretches.unite(after(*index), over);
            }
            if (self.writes_state)(node) {
                stretches.unite(before(*index), running);
            }
            for (next, _) in node.next.iter().filter_map(|next| nodes.get(next)) {
                if rules.early_leave && self.untouched.contains(at) {
                    early.push((after(*index), before(*next)));
                } else {
                    stretches.unite(after(*index), before(*next));
                }
            }
        }
        for start in self.starts {
            if let Some((index, _)) = nodes.get(start) {
                stretches.unite(before(*index), running);
            }
        }
        // "Over" before an instruction that may be probed is "over" after it too, and so along a way that may leave early.
        let mut spreads: HashMap<usize, Vec<usize>> = HashMap::new();
        for (before, after) in candidates
            .iter()
            .map(|(_, before, after)| (before, after))
            .chain(early.iter().map(|(a, b)| (a, b)))
        {
            spreads
                .entry(stretches.find(*before))
                .or_default()
                .push(stretches.find(*after));
        }
        let mut over_all = HashSet::new();
        let mut todo = vec![stretches.find(over)];
        while let Some(stretch) = todo.pop() {
            if over_all.insert(stretch) {
                todo.extend(spreads.get(&stretch).into_iter().flatten());
            }
        }
        let mut is_over = |stretch: usize| over_all.contains(&stretches.find(stretch));
        if is_over(running) {
            return None;
        }
        let mut cut = BTreeSet::new();
        for (at, before, after) in candidates {
            if !is_over(before) && is_over(after) {
                cut.insert(at);
            }
        }
        // A call that does not come back (the stack protector's) is on no way out.
        let tail: Vec<&Node> = nodes
            .values()
            .filter(|(index, node)| {
                is_over(before(*index)) && (node.leaves || !node.next.is_empty())
            })
            .map(|(_, node)| *node)
            .collect();
        let addresses: BTreeSet<u64> = tail.iter().map(|node| node.insn.at).collect();
        let calls = tail.iter().filter(|node| node.insn.is_call()).count();
        let is_epilogue = tail.len() <= MAX_TAIL
            && calls <= MAX_TAIL_CALLS
            && self.graph.before_loops(&addresses).len() == addresses.len();
        (!cut.is_empty() && is_epilogue).then_some(cut)
    }
}

/// Disjoint sets of stretches.
struct Union(Vec<usize>);

impl Union {
    fn new(size: usize) -> Self {
        Self((0..size).collect())
    }

    /// The set's representative; the way there is halved each time.
    fn find(&mut self, mut member: usize) -> usize {
        while let Some(parent) = self
            .0
            .get(member)
            .copied()
            .filter(|parent| *parent != member)
        {
            let grandparent = self.0.get(parent).copied().unwrap_or(parent);
            if let Some(link) = self.0.get_mut(member) {
                *link = grandparent;
            }
            member = grandparent;
        }
        member
    }

    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        if let Some(link) = self.0.get_mut(a) {
            *link = b;
        }
    }
}
