//! From addresses to probe points: where drives begin and end, and the single functions that are probed besides.
//!
//! Called by `plan` once the state machine and the fields are known.

use super::cfg::Graph;
use super::elf::Image;
use super::exits::{self, TailCall};
use super::isa::Isa;
use super::statem::{self, Entries};
use super::{ErrorProbe, Evidence, Fields, Hook, NoPlan, ProbePoint};

/// Where drives begin: in each function, or at the jumps to a common body if only those are cheap.
pub(super) fn begin(
    isa: &dyn Isa,
    image: &Image<'_>,
    graph: &Graph,
    entries: &Entries,
) -> Result<Vec<ProbePoint>, NoPlan> {
    let points = |list: &[u64]| -> Result<Vec<ProbePoint>, NoPlan> {
        list.iter()
            .map(|at| point(isa, image, *at, 0).ok_or(NoPlan::Undecodable { at: *at }))
            .collect()
    };
    let inside: Vec<u64> = entries
        .functions
        .iter()
        .map(|function| statem::entry_point(isa, image, graph, *function, true).0)
        .collect();
    let (inside, jumps) = (points(&inside)?, points(&entries.jumps)?);
    let cheap =
        |points: &[ProbePoint]| !points.is_empty() && points.iter().all(|point| point.emulated);
    Ok(if !cheap(&inside) && cheap(&jumps) {
        jumps
    } else {
        inside
    })
}

/// Where drives end. Functions that share no code are looked at one by one: what is cheap in one need not be so in another.
pub(super) fn end(
    isa: &dyn Isa,
    image: &Image<'_>,
    whole: Graph,
    entries: &Entries,
    fields: &Fields,
    evidence: &mut Evidence,
) -> Result<Vec<ProbePoint>, NoPlan> {
    let state: Vec<i64> = [
        fields.state,
        fields.hand_state,
        fields.in_init,
        fields.legacy_state,
    ]
    .into_iter()
    .flatten()
    .map(|field| i64::from(field.offset))
    .collect();
    // As soon as there are more instructions than in the whole, some belong to two functions.
    let mut alone = Vec::new();
    let mut left = Some(whole.nodes.len());
    for function in &entries.functions {
        let Some(rest) = left else { break };
        let graph = Graph::walk(isa, image, &[*function])?;
        left = rest.checked_sub(graph.nodes.len());
        alone.push((vec![*function], graph));
    }
    let graphs = match left {
        Some(0) => alone,
        _ => vec![(entries.functions.clone(), whole)],
    };
    let tail_call = match entries.hook {
        Hook::MethodTable => TailCall::GoesOn,
        Hook::StateMachine | Hook::DoHandshake => TailCall::Ends,
    };
    let mut points = Vec::new();
    for (functions, graph) in graphs {
        let exits = exits::choose(&graph, &functions, &state, tail_call)?;
        evidence.push(("exits", exits.evidence));
        for point in exits.points {
            let at = point.offset;
            points.push(ProbePoint {
                offset: image.file_offset(at).ok_or(NoPlan::Undecodable { at })?,
                ..point
            });
        }
    }
    Ok(points)
}

/// The probe point of the instruction at `at`.
pub(super) fn point(isa: &dyn Isa, image: &Image<'_>, at: u64, depth: i64) -> Option<ProbePoint> {
    let insn = isa.lift(image, at)?;
    let sp_delta = u32::try_from(depth.checked_neg()?).ok()?;
    Some(ProbePoint {
        offset: image.file_offset(at)?,
        sp_delta,
        emulated: insn.emulated,
    })
}

/// The probe point at which a call of `function` is seen with its arguments.
pub(super) fn start_of(isa: &dyn Isa, image: &Image<'_>, function: u64) -> Option<ProbePoint> {
    let (at, depth) = match Graph::walk(isa, image, &[function]) {
        Ok(graph) => statem::entry_point(isa, image, &graph, function, false),
        // What cannot be followed can still be probed at its first instruction.
        Err(_) => (function, 0),
    };
    point(isa, image, at, depth)
}

/// The one function through which errors are raised (crypto/err/err_blocks.c from 3.0 on, crypto/err/err.c before).
pub(super) fn error_probe(isa: &dyn Isa, image: &Image<'_>, in_crypto: bool) -> Option<ErrorProbe> {
    [("ERR_vset_error", 1), ("ERR_put_error", 2)]
        .iter()
        .find_map(|(function, reason_arg)| {
            let point = start_of(isa, image, image.symbol(function)?)?;
            Some(ErrorProbe {
                point,
                in_crypto,
                reason_arg: *reason_arg,
            })
        })
}
