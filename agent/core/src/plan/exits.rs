//! The instructions to probe for the end of a drive: exactly one runs on every exit path, and cheap
//! ones where they exist.
//!
//! The simple choice is the `ret`s, which the kernel single-steps at ten times the cost of an
//! instruction that it emulates. So `min_cut` searches for a set of such instructions first.
//! `state_machine` (ssl/statem/statem.c) ends in `BUF_MEM_free(buf); if (cb) cb(...); return ret;`:
//! that yields the stack protector's branch where there is one, else the branch around the callback
//! and that of the early failure.

use std::collections::{BTreeSet, HashMap};

use super::cfg::{Graph, Node};
use super::error::PlanError;
use super::insn::Flow;
use super::min_cut::{Cut, Problem};
use super::probe_plan::ProbePoint;

/// Exit points, and the evidence for them.
pub(super) struct Exits {
    /// Points with the virtual address as `offset`; the caller converts it.
    pub(super) points: Vec<ProbePoint>,
    /// Evidence, for people.
    pub(super) evidence: String,
}

/// Meaning of a computed jump that leaves a function with its stack as at entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TailCall {
    /// The drive ends there.
    Ends,
    /// The drive continues in another function that is probed:
    /// `return ssl->method->ssl_accept(ssl)` (ssl/tls13_legacy.c of LibreSSL).
    Continues,
}

/// The part of a function that drives a handshake.
struct Driven {
    /// First instructions after the first calls.
    starts: Vec<u64>,
    /// Instructions reachable from there.
    instructions: BTreeSet<u64>,
    /// Exits among them.
    exits: Vec<u64>,
}

/// Chooses the exits of the code in `graph`, entered at `entries`. A write at one of the `state`
/// displacements may change what is read at an exit, so none may follow one.
pub(super) fn choose(
    graph: &Graph,
    entries: &[u64],
    state: &[i64],
    tail_call: TailCall,
) -> Result<Exits, PlanError> {
    let depths = graph.depths(entries);
    let exits = all_exits(graph, &depths, tail_call)?;
    let writes_state = |node: &Node| {
        node.insn
            .writes
            .is_some_and(|write| state.iter().any(|field| write.changes(*field)))
    };
    let driven = Driven::find(graph, entries, &exits, &writes_state);
    if driven.exits.is_empty() {
        return Err(PlanError::NoExit);
    }
    // On the paths to these, no loop has run and no write has changed the state.
    let writers: Vec<u64> = graph.addresses(writes_state).into_iter().collect();
    let written = graph.reachable(&writers, |_| true);
    let untouched = &graph.acyclic_prefix(&graph.addresses(|_| true)) - &written;
    let problem = Problem {
        graph,
        depths: &depths,
        driven: &driven.instructions,
        starts: &driven.starts,
        exits: &driven.exits,
        untouched: &untouched,
        writes_state: &writes_state,
    };
    // Before a tail call no instruction shows whether the drive continues in another function.
    let continues = tail_call == TailCall::Continues && !graph.unresolved.is_empty();
    let Cut { points, kind } = match problem.solve().filter(|_| !continues) {
        Some(cut) => cut,
        None => Cut {
            points: driven.exits.iter().copied().collect(),
            kind: "the return instructions",
        },
    };
    let points = points
        .into_iter()
        .map(|at| exit_point(graph, &depths, at).ok_or(PlanError::NoExit))
        .collect::<Result<_, _>>()?;
    let evidence = format!(
        "{kind}; {} exit paths, {} before any call",
        exits.len(),
        exits.len() - driven.exits.len()
    );
    Ok(Exits { points, evidence })
}

/// All instructions at which control leaves the code in `graph` with a balanced stack.
fn all_exits(
    graph: &Graph,
    depths: &HashMap<u64, i64>,
    tail_call: TailCall,
) -> Result<BTreeSet<u64>, PlanError> {
    let mut exits = graph.addresses(|node| node.is_exit);
    for at in &graph.unresolved {
        // A computed jump with the stack as at entry is a tail call; any other hides part of the
        // function.
        match (depths.get(at), tail_call) {
            (Some(0), TailCall::Ends) => exits.insert(*at),
            (Some(0), TailCall::Continues) => continue,
            _ => return Err(PlanError::UnresolvedJump { at: *at }),
        };
    }
    let unbalanced = exits
        .iter()
        .find(|at| depths.get(at).is_some_and(|depth| *depth != 0));
    match unbalanced {
        Some(at) => Err(PlanError::UnbalancedStack { at: *at }),
        None => Ok(exits),
    }
}

impl Driven {
    /// Excludes the paths that exit before the first call: the early return of a failed connection
    /// drives nothing.
    fn find(
        graph: &Graph,
        entries: &[u64],
        exits: &BTreeSet<u64>,
        writes_state: &dyn Fn(&Node) -> bool,
    ) -> Self {
        let idle = graph.reachable(entries, |node| !node.insn.is_call());
        let idle_nodes = || idle.iter().filter_map(|at| graph.nodes.get(at));
        let mut starts: Vec<u64> = idle_nodes()
            .filter(|node| node.insn.is_call())
            .flat_map(|node| node.next.iter().copied())
            .collect();
        if starts.is_empty() || idle_nodes().any(writes_state) {
            starts = entries.to_vec();
        }
        let instructions = graph.reachable(&starts, |_| true);
        let exits = exits.intersection(&instructions).copied().collect();
        Self {
            starts,
            instructions,
            exits,
        }
    }
}

/// The probe point of an exit; `None` where the kernel refuses it or its stack depth is unknown.
fn exit_point(graph: &Graph, depths: &HashMap<u64, i64>, at: u64) -> Option<ProbePoint> {
    let node = graph.nodes.get(&at).filter(|node| !node.insn.refused)?;
    let depth = if node.is_exit || graph.unresolved.contains(&at) {
        0
    } else {
        *depths.get(&at)?
    };
    Some(ProbePoint {
        offset: at,
        sp_delta: u32::try_from(depth.checked_neg()?).ok()?,
        emulated: node.insn.emulated,
    })
}

/// Returns the return instructions of `function`, if it has no other exit: its result is in its
/// register there.
pub(super) fn returns(graph: &Graph, function: u64) -> Result<Vec<u64>, PlanError> {
    if let Some(at) = graph.unresolved.iter().next() {
        return Err(PlanError::UnresolvedJump { at: *at });
    }
    let depths = graph.depths(&[function]);
    let exits = || graph.nodes.values().filter(|node| node.is_exit);
    for node in exits() {
        if depths.get(&node.insn.at) != Some(&0) {
            return Err(PlanError::UnbalancedStack { at: node.insn.at });
        }
        if node.insn.flow != Flow::Return || node.insn.refused {
            return Err(PlanError::NoExit);
        }
    }
    let all: Vec<u64> = exits().map(|node| node.insn.at).collect();
    match all.as_slice() {
        [] => Err(PlanError::NoExit),
        _ => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine;
    use super::super::tests::{CODE, elf_from_code, image_from_file};
    use super::*;

    /// Offset, depth and emulation of each exit of the function at the beginning of `code`;
    /// `statem.state` is at 0x48.
    fn exits(code: &[u8]) -> (Vec<(u64, u32, bool)>, String) {
        exits_with(code, TailCall::Ends)
    }

    fn exits_with(code: &[u8], tail_call: TailCall) -> (Vec<(u64, u32, bool)>, String) {
        let bytes = elf_from_code(code);
        let image = image_from_file(&bytes);
        let isa = machine::isa_for(image.machine).expect("x86-64");
        let graph = Graph::build(isa.as_ref(), &image, &[CODE]).expect("decodable");
        let exits = choose(&graph, &[CODE], &[0x48], tail_call).expect("has exits");
        let points = exits
            .points
            .iter()
            .map(|point| (point.offset - CODE, point.sp_delta, point.emulated));
        (points.collect(), exits.evidence)
    }

    #[test]
    fn drive_that_continues_in_another_function_has_not_ended() {
        // The shape of tls13_legacy_accept.
        let code = [
            0x53, 0x48, 0x89, 0xfb, // push rbx; mov rbx, rdi
            0xe8, 0, 0, 0, 0, // call
            0x83, 0xf8, 0xfa, // cmp eax, -6
            0x74, 0x02, // je 16
            0x5b, 0xc3, // pop rbx; ret
            0x48, 0x8b, 0x43, 0x08, // 16: mov rax, [rbx+8]
            0x48, 0x89, 0xdf, // mov rdi, rbx
            0x48, 0x8b, 0x40, 0x28, // mov rax, [rax+0x28]
            0x5b, // pop rbx
            0xff, 0xe0, // jmp rax
        ];
        let (points, _) = exits_with(&code, TailCall::Continues);
        assert_eq!(points, [(15, 0, false)]);
        let (points, _) = exits_with(&code, TailCall::Ends);
        assert_eq!(points, [(12, 8, true)]);
    }

    #[test]
    fn last_emulated_instruction_on_every_exit_path_is_the_exit() {
        let (points, evidence) = exits(&[
            0x53, // push rbx
            0x83, 0x7f, 0x48, 0x01, // cmp [rdi+0x48], 1
            0x74, 0x1b, // je 22: the early return shares the epilogue
            0x48, 0x89, 0xfb, // mov rbx, rdi
            0xe8, 0xf1, 0xff, 0xff, 0xff, // a: call
            0x85, 0xc0, // test eax, eax
            0x75, 0xf7, // f: jne a: a loop is not an exit
            0xc7, 0x43, 0x48, 0x04, 0x00, 0x00, 0x00, // mov [rbx+0x48], 4
            0x48, 0x85, 0xdb, // test rbx, rbx
            0x74, 0x02, // 1d: je 21
            0xff, 0xd3, // call rbx
            0x90, // 21: nop
            0x5b, // 22: pop rbx
            0xc3,
        ]);
        assert_eq!(points, [(0x21, 8, true)], "{evidence}");
    }

    #[test]
    fn exit_path_before_any_loop_may_pass_no_probe() {
        let (points, evidence) = exits(&[
            0x53, // push rbx
            0x48, 0x89, 0xfb, // mov rbx, rdi
            0xe8, 0xd3, 0xff, 0xff, 0xff, // call
            0x85, 0xc0, // test eax, eax
            0x74, 0x1c, // je 29: shares the epilogue
            0xe8, 0xca, 0xff, 0xff, 0xff, // d: call
            0x85, 0xc0, // test eax, eax
            0x75, 0xf7, // jne d
            0xc7, 0x43, 0x48, 0x04, 0x00, 0x00, 0x00, // mov [rbx+0x48], 4
            0xe8, 0xba, 0xff, 0xff, 0xff, // call
            0x48, 0x85, 0xdb, // test rbx, rbx
            0x74, 0x02, // 25: je 29
            0xff, 0xd3, // call rbx
            0x5b, // 29: pop rbx
            0xc3,
        ]);
        assert_eq!(points, [(0x25, 8, true)]);
        assert!(evidence.contains("before any loop"), "{evidence}");
    }

    #[test]
    fn return_is_the_exit_where_no_emulated_instruction_follows_the_last_write() {
        let (points, _) = exits(&[
            0x53, // push rbx
            0x48, 0x89, 0xfb, // mov rbx, rdi
            0xe8, 0xa8, 0xff, 0xff, 0xff, // 4: call
            0x85, 0xc0, // test eax, eax
            0x75, 0xf7, // jne 4
            0xc7, 0x43, 0x48, 0x04, 0x00, 0x00, 0x00, // mov [rbx+0x48], 4
            0x5b, // pop rbx
            0xc3, // 15: ret
        ]);
        assert_eq!(points, [(0x15, 0, false)]);
    }

    #[test]
    fn instruction_with_unknown_stack_depth_is_not_probed() {
        let (points, _) = exits(&[
            0x55, // push rbp
            0x48, 0x89, 0xe5, // mov rbp, rsp
            0x48, 0x83, 0xec, 0x20, // sub rsp, 0x20
            0x48, 0x83, 0xe4, 0xe0, // and rsp, -32
            0xe8, 0x8a, 0xff, 0xff, 0xff, // call
            0xeb, 0x00, // jmp 13: depth unknown
            0xc9, // 13: leave
            0x90, // 14: nop: depth known again
            0xc3,
        ]);
        assert_eq!(points, [(0x14, 0, true)]);
    }

    #[test]
    fn call_is_the_exit_only_where_nothing_else_is_emulated() {
        let (points, _) = exits(&[
            0x53, // push rbx
            0xe8, 0x6a, 0xff, 0xff, 0xff, // call
            0xe8, 0x65, 0xff, 0xff, 0xff, // 6: call
            0x5b, // pop rbx
            0xc3,
        ]);
        assert_eq!(points, [(6, 8, true)]);
    }

    #[test]
    fn return_before_any_call_needs_no_exit() {
        let (points, evidence) = exits(&[
            0x83, 0x7f, 0x48, 0x01, // cmp [rdi+0x48], 1
            0x74, 0x07, // je d
            0xe8, 0xf5, 0xff, 0xff, 0xff, // 6: call
            0x90, // b: nop
            0xc3, // c: ret
            0xc3, // d: ret
        ]);
        assert_eq!(points, [(0xb, 0, true)]);
        assert!(
            evidence.ends_with("2 exit paths, 1 before any call"),
            "{evidence}"
        );
    }

    #[test]
    fn each_exit_path_gets_its_cheapest_exit() {
        // A loop on one side of the branch: it ends in a jump of its own, the other side only in
        // its `ret`.
        let (points, _) = exits(&[
            0x53, // push rbx
            0xe8, 0xfa, 0xff, 0xff, 0xff, // 1: call
            0x85, 0xc0, // test eax, eax
            0x74, 0x02, // 8: je c
            0x5b, // pop rbx
            0xc3, // b: ret
            0xe8, 0xef, 0xff, 0xff, 0xff, // c: call
            0x85, 0xc0, // test eax, eax
            0x75, 0xf7, // jne c
            0xeb, 0x00, // 15: jmp 17
            0x5b, // 17: pop rbx
            0xc3,
        ]);
        assert_eq!(points, [(0xb, 0, false), (0x15, 8, true)]);
    }
}
