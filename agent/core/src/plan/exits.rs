//! Which instructions to probe for the end of a drive: exactly one runs on every way out, and cheap ones where they exist.
//!
//! Called by `plan`. The plain answer is the `ret`s. The kernel single-steps those, at ten times the cost of an instruction
//! that it emulates, so `cut` is asked for a set of such instructions first. `state_machine` (ssl/statem/statem.c) ends in
//! `BUF_MEM_free(buf); if (cb) cb(...); return ret;`: that yields the stack protector's branch where there is one, else the
//! branch around the callback with that of the early failure.

use std::collections::BTreeSet;

use super::cfg::{Graph, Node};
use super::cut::Problem;
use super::isa::Flow;
use super::{NoPlan, ProbePoint};

/// Exit points by address (offsets are filled in by the caller), and what they rest on.
pub(super) struct Exits {
    /// `offset` is the virtual address here.
    pub(super) points: Vec<ProbePoint>,
    /// For people.
    pub(super) evidence: String,
}

/// What becomes of a drive where a function leaves by a computed jump, its stack as at entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TailCall {
    /// It ends there.
    Ends,
    /// It goes on in another function that is probed: `return ssl->method->ssl_accept(ssl)` (ssl/tls13_legacy.c of LibreSSL).
    GoesOn,
}

/// Chooses the exits of what `graph` holds, entered at `entries`. A write at one of the `state` displacements may change
/// what is read at an exit, so none may follow one.
pub(super) fn choose(
    graph: &Graph,
    entries: &[u64],
    state: &[i64],
    tail_call: TailCall,
) -> Result<Exits, NoPlan> {
    let depths = graph.depths(entries);
    let mut ways_out: BTreeSet<u64> = graph
        .nodes
        .values()
        .filter(|node| node.leaves)
        .map(|node| node.insn.at)
        .collect();
    for at in &graph.unresolved {
        // A computed jump with the stack as at entry is a tail call; any other hides part of the function.
        match (depths.get(at), tail_call) {
            (Some(0), TailCall::Ends) => ways_out.insert(*at),
            (Some(0), TailCall::GoesOn) => continue,
            _ => return Err(NoPlan::UnresolvedJump { at: *at }),
        };
    }
    if let Some(at) = ways_out
        .iter()
        .find(|at| depths.get(at).is_some_and(|depth| *depth != 0))
    {
        return Err(NoPlan::UnbalancedStack { at: *at });
    }
    let writes_state = |node: &Node| {
        node.insn
            .writes
            .is_some_and(|write| state.iter().any(|field| write.changes(*field)))
    };

    // A path that leaves before the first call has driven nothing: the early return of a failed connection.
    let idle = graph.closure(entries, |node| !node.insn.is_call());
    let idle_nodes = || idle.iter().filter_map(|at| graph.nodes.get(at));
    let mut starts: Vec<u64> = idle_nodes()
        .filter(|node| node.insn.is_call())
        .flat_map(|node| node.next.iter().copied())
        .collect();
    if starts.is_empty() || idle_nodes().any(writes_state) {
        starts = entries.to_vec();
    }
    let driven = graph.closure(&starts, |_| true);
    let kept: Vec<u64> = ways_out.intersection(&driven).copied().collect();
    if kept.is_empty() {
        return Err(NoPlan::NoExit);
    }
    let idle_exits = ways_out.len() - kept.len();

    // Neither a loop nor a write has changed anything on the way to these.
    let writers: Vec<u64> = graph
        .nodes
        .values()
        .filter(|node| writes_state(node))
        .map(|node| node.insn.at)
        .collect();
    let written = graph.closure(&writers, |_| true);
    let untouched = &graph.before_loops(&graph.nodes.keys().copied().collect()) - &written;
    let problem = Problem {
        graph,
        depths: &depths,
        driven: &driven,
        starts: &starts,
        kept: &kept,
        untouched: &untouched,
        writes_state: &writes_state,
    };
    // No instruction before the parting of the ways knows whether the drive goes on elsewhere.
    let goes_on = tail_call == TailCall::GoesOn && !graph.unresolved.is_empty();
    let (at, kind) = match problem.solve().filter(|_| !goes_on) {
        Some(found) => found,
        None => (kept.iter().copied().collect(), "the return instructions"),
    };
    let mut points = Vec::new();
    for at in at {
        let node = graph.nodes.get(&at).ok_or(NoPlan::NoExit)?;
        if node.insn.refused {
            return Err(NoPlan::NoExit);
        }
        let depth = if node.leaves || graph.unresolved.contains(&at) {
            Some(0)
        } else {
            depths.get(&at).copied()
        };
        let sp_delta = depth
            .and_then(|depth| u32::try_from(depth.checked_neg()?).ok())
            .ok_or(NoPlan::NoExit)?;
        points.push(ProbePoint {
            offset: at,
            sp_delta,
            emulated: node.insn.emulated,
        });
    }
    let evidence = format!(
        "{kind}; {} ways out, {idle_exits} before any call",
        ways_out.len()
    );
    Ok(Exits { points, evidence })
}

/// The return instructions of `function`, if it has no other way out: there its result is in its register.
pub(super) fn returns(graph: &Graph, function: u64) -> Result<Vec<u64>, NoPlan> {
    if let Some(at) = graph.unresolved.iter().next() {
        return Err(NoPlan::UnresolvedJump { at: *at });
    }
    let depths = graph.depths(&[function]);
    let ways_out = || graph.nodes.values().filter(|node| node.leaves);
    for node in ways_out() {
        if depths.get(&node.insn.at) != Some(&0) {
            return Err(NoPlan::UnbalancedStack { at: node.insn.at });
        }
        if node.insn.flow != Flow::Return || node.insn.refused {
            return Err(NoPlan::NoExit);
        }
    }
    let all: Vec<u64> = ways_out().map(|node| node.insn.at).collect();
    match all.as_slice() {
        [] => Err(NoPlan::NoExit),
        _ => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::super::isa;
    use super::super::tests::{CODE, elf_of, image_of};
    use super::*;

    /// Offset and depth of each exit of the function at the beginning of `code`; `statem.state` is at 0x48.
    fn exits(code: &[u8]) -> (Vec<(u64, u32, bool)>, String) {
        exits_of(code, TailCall::Ends)
    }

    fn exits_of(code: &[u8], tail_call: TailCall) -> (Vec<(u64, u32, bool)>, String) {
        let bytes = elf_of(code);
        let image = image_of(&bytes);
        let isa = isa::for_machine(image.machine).expect("x86-64");
        let graph = Graph::walk(isa.as_ref(), &image, &[CODE]).expect("decodable");
        let exits = choose(&graph, &[CODE], &[0x48], tail_call).expect("has exits");
        let points = exits
            .points
            .iter()
            .map(|point| (point.offset - CODE, point.sp_delta, point.emulated));
        (points.collect(), exits.evidence)
    }

    #[test]
    fn drive_that_goes_on_in_another_function_has_not_ended() {
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
        let (points, _) = exits_of(&code, TailCall::GoesOn);
        assert_eq!(points, [(15, 0, false)]);
        let (points, _) = exits_of(&code, TailCall::Ends);
        assert_eq!(points, [(12, 8, true)]);
    }

    #[test]
    fn last_emulated_instruction_on_every_way_out_is_the_exit() {
        let (points, evidence) = exits(&[
            0x53, // push rbx
            0x83, 0x7f, 0x48, 0x01, // cmp [rdi+0x48], 1
            0x74, 0x1b, // je 22: the early return shares the end
            0x48, 0x89, 0xfb, // mov rbx, rdi
            0xe8, 0xf1, 0xff, 0xff, 0xff, // a: call
            0x85, 0xc0, // test eax, eax
            0x75, 0xf7, // f: jne a: a loop is no exit
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
    fn way_out_before_any_loop_may_pass_no_exit_if_nothing_is_its_own() {
        let (points, evidence) = exits(&[
            0x53, // push rbx
            0x48, 0x89, 0xfb, // mov rbx, rdi
            0xe8, 0xd3, 0xff, 0xff, 0xff, // call
            0x85, 0xc0, // test eax, eax
            0x74, 0x1c, // je 29: shares the end, and the branch has another side
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
    fn return_is_the_exit_where_nothing_cheap_follows_the_last_write() {
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
    fn unknown_stack_depth_rules_an_instruction_out() {
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
    fn call_is_an_exit_only_where_nothing_else_is() {
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
    fn return_of_an_idle_drive_needs_no_exit() {
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
            evidence.ends_with("2 ways out, 1 before any call"),
            "{evidence}"
        );
    }

    #[test]
    fn each_way_out_gets_the_exit_it_can_have() {
        // A loop on one side of the branch: its end has a jump of its own, the other side only its `ret`.
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
