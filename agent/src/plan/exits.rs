//! Which instructions to probe for the end of a drive: exactly one runs on every way out, and cheap ones where they exist.
//!
//! Called by `plan`. The plain answer is the `ret`s. The kernel single-steps those, at ten times the cost of an instruction
//! that it emulates, so the last such instructions are chosen that together cut every way out exactly once:
//!
//! Give the stretch before and the stretch after each instruction a phase, *running* or *over*. The phase changes only at
//! a probe, from running to over; entries are running, ways out are over. Unite all stretches between which nothing may be
//! probed; let "over" spread forward from the ways out. If it does not reach an entry, the instructions where the phase
//! changes are the latest cut: each path crosses it exactly once, and none of them is in a loop, since a loop would have to
//! change the phase back. `state_machine` (ssl/statem/statem.c) ends in `BUF_MEM_free(buf); if (cb) cb(...); return ret;`,
//! so this finds the stack protector's branch, or the branch around the callback and that of the early failure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::cfg::{Graph, Node};
use super::isa::Flow;
use super::{NoPlan, ProbePoint};

/// More ways out than this are probed at their `ret`s.
const MAX_SPLIT: usize = 5;
/// Instructions and calls that may follow a cheap exit: more is no epilogue.
const MAX_TAIL: usize = 192;
const MAX_TAIL_CALLS: usize = 6;

/// Exit points by address (offsets are filled in by the caller), and what they rest on.
pub(super) struct Exits {
    /// `offset` is the virtual address here.
    pub(super) points: Vec<ProbePoint>,
    /// For people.
    pub(super) evidence: String,
}

/// Chooses the exits of what `graph` holds, entered at `entries`. A write at one of the `state` displacements may change
/// what is read at an exit, so none may follow one.
pub(super) fn choose(graph: &Graph, entries: &[u64], state: &[i64]) -> Result<Exits, NoPlan> {
    let depths = graph.depths(entries);
    let mut ways_out: BTreeSet<u64> = graph.nodes.values().filter(|node| node.leaves).map(|node| node.insn.at).collect();
    for at in &graph.unresolved {
        // A computed jump with the stack as at entry is a tail call; any other hides part of the function.
        match depths.get(at) {
            Some(0) => ways_out.insert(*at),
            _ => return Err(NoPlan::UnresolvedJump { at: *at }),
        };
    }
    if let Some(at) = ways_out.iter().find(|at| depths.get(at).is_some_and(|depth| *depth != 0)) {
        return Err(NoPlan::UnbalancedStack { at: *at });
    }
    let writes_state = |node: &Node| node.insn.writes.is_some_and(|displacement| state.contains(&displacement));
    let is_call = |node: &Node| matches!(node.insn.flow, Flow::Call(_) | Flow::CallIndirect(_));

    // A path that leaves before the first call has driven nothing: the early return of a failed connection.
    let idle = graph.closure(entries, |node| !is_call(node));
    let idle_nodes = || idle.iter().filter_map(|at| graph.nodes.get(at));
    let mut starts: Vec<u64> =
        idle_nodes().filter(|node| is_call(node)).flat_map(|node| node.next.iter().copied()).collect();
    if starts.is_empty() || idle_nodes().any(writes_state) {
        starts = entries.to_vec();
    }
    let driven = graph.closure(&starts, |_| true);
    let kept: Vec<u64> = ways_out.intersection(&driven).copied().collect();
    if kept.is_empty() {
        return Err(NoPlan::NoExit);
    }
    let idle_exits = ways_out.len() - kept.len();

    let before_loops = before_loops(graph, entries);
    let problem = Problem {
        graph,
        depths: &depths,
        driven: &driven,
        starts: &starts,
        kept: &kept,
        before_loops: &before_loops,
        writes_state: &writes_state,
    };
    let (at, kind) = match problem.solve() {
        Some(found) => found,
        None => (kept.iter().copied().collect(), "the return instructions"),
    };
    let mut points = Vec::new();
    for at in at {
        let node = graph.nodes.get(&at).ok_or(NoPlan::NoExit)?;
        let depth = if node.leaves || graph.unresolved.contains(&at) { Some(0) } else { depths.get(&at).copied() };
        let sp_delta = depth.and_then(|depth| u32::try_from(depth.checked_neg()?).ok()).ok_or(NoPlan::NoExit)?;
        points.push(ProbePoint { offset: at, sp_delta, emulated: node.insn.emulated });
    }
    let evidence = format!("{kind}; {} ways out, {idle_exits} before any call", ways_out.len());
    Ok(Exits { points, evidence })
}

struct Problem<'p> {
    graph: &'p Graph,
    depths: &'p HashMap<u64, i64>,
    /// What runs after the first call.
    driven: &'p BTreeSet<u64>,
    /// Where `driven` begins.
    starts: &'p [u64],
    /// Ways out to cover.
    kept: &'p [u64],
    /// What runs before any loop.
    before_loops: &'p BTreeSet<u64>,
    writes_state: &'p dyn Fn(&Node) -> bool,
}

/// What a cut may consist of.
#[derive(Clone, Copy)]
struct Rules<'r> {
    /// Ways out that are probed themselves.
    plain: &'r BTreeSet<u64>,
    /// Emulated calls may be probed.
    with_calls: bool,
    /// A way that leaves before any loop may pass no probe. All messages are processed in loops, so such a drive ended
    /// before it began: `if (!SSL_clear(s)) return -1;` shares its return with all others, and nothing else is its own.
    early_leave: bool,
}

impl Problem<'_> {
    /// The cheapest acceptable cut: fewest plain returns first; then without emulated calls, which kernels before shadow
    /// stack support in uprobes get wrong for programs that use one (arch/x86/kernel/uprobes.c, `branch_emulate_op`).
    fn solve(&self) -> Option<(BTreeSet<u64>, &'static str)> {
        if self.kept.len() > MAX_SPLIT {
            return None;
        }
        let mut choices: Vec<u32> = (0..(1 << self.kept.len()) - 1).collect();
        choices.sort_by_key(|plain| plain.count_ones());
        let plain_of = |choice: u32| -> BTreeSet<u64> {
            self.kept.iter().enumerate().filter(|(bit, _)| choice >> bit & 1 == 1).map(|(_, at)| *at).collect()
        };
        for early_leave in [false, true] {
            for choice in &choices {
                let plain = plain_of(*choice);
                let rules = |with_calls| Rules { plain: &plain, with_calls, early_leave };
                if let Some(cut) = self.cut(rules(false)).or_else(|| self.cut(rules(true))) {
                    let kind = match early_leave {
                        false => "the latest cut of emulated instructions",
                        true => "the latest cut of emulated instructions, but for ways out before any loop",
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
                && (rules.with_calls || !matches!(node.insn.flow, Flow::Call(_)));
            let leaves = self.kept.contains(at);
            if rules.plain.contains(at) || emulated {
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
                if rules.early_leave && self.before_loops.contains(at) {
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
        for (before, after) in candidates.iter().map(|(_, before, after)| (before, after)).chain(early.iter().map(|(a, b)| (a, b))) {
            spreads.entry(stretches.find(*before)).or_default().push(stretches.find(*after));
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
        let (mut tail, mut calls) = (0, 0);
        for (index, node) in nodes.values() {
            // A call that does not come back (the stack protector's) is on no way out.
            if is_over(before(*index)) && (node.leaves || !node.next.is_empty()) {
                tail += 1;
                calls += usize::from(matches!(node.insn.flow, Flow::Call(_) | Flow::CallIndirect(_)));
            }
        }
        (!cut.is_empty() && tail <= MAX_TAIL && calls <= MAX_TAIL_CALLS).then_some(cut)
    }
}

/// What runs before any loop: instructions are taken away while nothing left leads to them, which stops at loops.
fn before_loops(graph: &Graph, entries: &[u64]) -> BTreeSet<u64> {
    let mut arrivals: HashMap<u64, usize> = HashMap::new();
    for next in graph.nodes.values().flat_map(|node| &node.next) {
        *arrivals.entry(*next).or_default() += 1;
    }
    let mut todo: Vec<u64> = entries.iter().copied().filter(|at| !arrivals.contains_key(at)).collect();
    let mut taken = BTreeSet::new();
    while let Some(at) = todo.pop() {
        taken.insert(at);
        for next in graph.nodes.get(&at).into_iter().flat_map(|node| &node.next) {
            if let Some(left) = arrivals.get_mut(next) {
                *left -= 1;
                if *left == 0 {
                    todo.push(*next);
                }
            }
        }
    }
    taken
}

/// Disjoint sets of stretches.
struct Union(Vec<usize>);

impl Union {
    fn new(size: usize) -> Self {
        Self((0..size).collect())
    }

    /// The set's representative; the way there is halved each time.
    fn find(&mut self, mut member: usize) -> usize {
        while let Some(parent) = self.0.get(member).copied().filter(|parent| *parent != member) {
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
