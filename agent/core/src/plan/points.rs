//! Probe points: of the entries and exits of drives, of single functions, and of raised errors.

use super::cfg::Graph;
use super::elf::Image;
use super::error::PlanError;
use super::evidence::Evidence;
use super::exits::{self, TailCall};
use super::isa::Isa;
use super::probe_plan::{ErrorProbe, Fields, Hook, ProbePoint};
use super::statem::{self, Entries};

/// The functions that raise errors, and the index of the argument that is the reason. From 3.0 on
/// the first calls the second (crypto/err/err_blocks.c); earlier versions have the third only
/// (crypto/err/err.c).
const RAISE: [(&str, u8); 3] = [
    ("ERR_set_error", 1),
    ("ERR_vset_error", 1),
    ("ERR_put_error", 2),
];

/// Chooses the entry points of drives: in each function, or at the jumps to a common body if only
/// those are cheap.
pub(super) fn for_entries(
    isa: &dyn Isa,
    image: &Image<'_>,
    graph: &Graph,
    entries: &Entries,
) -> Result<Vec<ProbePoint>, PlanError> {
    let points = |list: &[u64]| -> Result<Vec<ProbePoint>, PlanError> {
        list.iter()
            .map(|at| for_instruction(isa, image, *at, 0).ok_or(PlanError::Undecodable { at: *at }))
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

/// Chooses the exit points of drives. Functions that share no code are analysed one by one, since a
/// cheap exit of one need not exist in another.
pub(super) fn for_exits(
    isa: &dyn Isa,
    image: &Image<'_>,
    whole: Graph,
    entries: &Entries,
    fields: &Fields,
    evidence: &mut Evidence,
) -> Result<Vec<ProbePoint>, PlanError> {
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
    // More instructions than in the whole graph mean that two functions share some.
    let mut alone = Vec::new();
    let mut unassigned = Some(whole.nodes.len());
    for function in &entries.functions {
        let Some(rest) = unassigned else { break };
        let graph = Graph::build(isa, image, &[*function])?;
        unassigned = rest.checked_sub(graph.nodes.len());
        alone.push((vec![*function], graph));
    }
    let graphs = match unassigned {
        Some(0) => alone,
        _ => vec![(entries.functions.clone(), whole)],
    };
    let tail_call = match entries.hook {
        Hook::MethodTable => TailCall::Continues,
        Hook::StateMachine | Hook::DoHandshake => TailCall::Ends,
    };
    let mut points = Vec::new();
    for (functions, graph) in graphs {
        let exits = exits::choose(&graph, &functions, &state, tail_call)?;
        evidence.push(("exits", exits.evidence));
        for point in exits.points {
            let at = point.offset;
            points.push(ProbePoint {
                offset: image.file_offset(at).ok_or(PlanError::Undecodable { at })?,
                ..point
            });
        }
    }
    Ok(points)
}

/// Returns the probe point of the instruction at `at`.
pub(super) fn for_instruction(
    isa: &dyn Isa,
    image: &Image<'_>,
    at: u64,
    depth: i64,
) -> Option<ProbePoint> {
    let insn = isa.lift(image, at)?;
    let sp_delta = u32::try_from(depth.checked_neg()?).ok()?;
    Some(ProbePoint {
        offset: image.file_offset(at)?,
        sp_delta,
        emulated: insn.emulated,
    })
}

/// Returns the probe point that runs once in each call of `function`, with its arguments in place.
pub(super) fn for_call(isa: &dyn Isa, image: &Image<'_>, function: u64) -> Option<ProbePoint> {
    let (at, depth) = match Graph::build(isa, image, &[function]) {
        Ok(graph) => statem::entry_point(isa, image, &graph, function, false),
        // A function that cannot be decoded can still be probed at its first instruction.
        Err(_) => (function, 0),
    };
    for_instruction(isa, image, at, depth)
}

/// Chooses the points at which errors of the TLS library are observed. Best are its calls of the
/// crypto library: they exclude errors that the crypto library raises and clears internally (eight
/// in a full handshake of a client).
pub(super) fn for_errors(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    crypto: Option<&Image<'_>>,
    evidence: &mut Evidence,
) -> Option<ErrorProbe> {
    if let Some(probe) = for_error_calls(isa, ssl) {
        let text = "observed where this file calls the crypto library to raise them";
        evidence.push(("errors", text.to_owned()));
        return Some(probe);
    }
    let (function, probe) = crypto
        .and_then(|image| for_error_function(isa, image, true))
        .or_else(|| for_error_function(isa, ssl, false))?;
    let text =
        format!("observed in {function}, including cleared ones and those of other libraries");
    evidence.push(("errors", text));
    Some(probe)
}

/// Points at the linkage stubs through which the file calls the functions that raise errors, if
/// each function is reached through one stub only.
fn for_error_calls(isa: &dyn Isa, ssl: &Image<'_>) -> Option<ErrorProbe> {
    let mut points = Vec::new();
    let mut reasons = Vec::new();
    for (function, reason_arg) in RAISE {
        match ssl.imports(function).as_slice() {
            [] => {}
            [(word, true)] => {
                let [jump] = isa.plt_jumps(ssl, *word).try_into().ok()?;
                if jump.refused {
                    return None;
                }
                points.push(for_instruction(isa, ssl, jump.at, 0)?);
                reasons.push(reason_arg);
            }
            // The file takes its address, or calls it without a stub.
            _ => return None,
        }
    }
    reasons.dedup();
    let [reason_arg] = reasons.try_into().ok()?;
    Some(ErrorProbe {
        points,
        in_crypto: false,
        reason_arg,
    })
}

/// The point in the function that all errors pass, if the image defines it.
fn for_error_function(
    isa: &dyn Isa,
    image: &Image<'_>,
    in_crypto: bool,
) -> Option<(&'static str, ErrorProbe)> {
    // `ERR_set_error` calls `ERR_vset_error`.
    RAISE[1..].iter().find_map(|(function, reason_arg)| {
        let point = for_call(isa, image, image.symbol(function)?)?;
        let probe = ErrorProbe {
            points: vec![point],
            in_crypto,
            reason_arg: *reason_arg,
        };
        Some((*function, probe))
    })
}
