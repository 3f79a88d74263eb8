//! From addresses to probe points: where drives begin and end, and the single functions that are probed besides.
//!
//! Called by `plan` once the state machine and the fields are known.

use super::cfg::Graph;
use super::elf::Image;
use super::exits::{self, TailCall};
use super::isa::Isa;
use super::statem::{self, Entries};
use super::{ErrorProbe, Evidence, Fields, Hook, NoPlan, ProbePoint};

/// The functions through which errors are raised, and which argument is the reason. The first calls the second (crypto/err/err_blocks.c
/// from 3.0 on); before there is the third alone (crypto/err/err.c).
const RAISE: [(&str, u8); 3] = [
    ("ERR_set_error", 1),
    ("ERR_vset_error", 1),
    ("ERR_put_error", 2),
];

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

/// Where the TLS library raises its errors. Best where it calls the crypto library for that: of the errors that are raised and
/// taken back in there (a full handshake of a client meets eight), none is a hit.
pub(super) fn error_probe(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    crypto: Option<&Image<'_>>,
    evidence: &mut Evidence,
) -> Option<ErrorProbe> {
    if let Some(probe) = calls(isa, ssl) {
        let text = "seen where this file calls the crypto library to raise them";
        evidence.push(("errors", text.to_owned()));
        return Some(probe);
    }
    let (function, probe) = crypto
        .and_then(|image| raised_in(isa, image, true))
        .or_else(|| raised_in(isa, ssl, false))?;
    let text = format!("seen in {function}, those of other libraries and those taken back too");
    evidence.push(("errors", text));
    Some(probe)
}

/// The linkage stubs by which the file calls the functions that raise errors, where nothing but one stub each leads to them.
fn calls(isa: &dyn Isa, ssl: &Image<'_>) -> Option<ErrorProbe> {
    let mut points = Vec::new();
    let mut reasons = Vec::new();
    for (function, reason_arg) in RAISE {
        match ssl.imports(function).as_slice() {
            [] => {}
            [(word, true)] => {
                let [jump] = isa.stubs(ssl, *word).try_into().ok()?;
                if jump.refused {
                    return None;
                }
                points.push(point(isa, ssl, jump.at, 0)?);
                reasons.push(reason_arg);
            }
            // Its address is taken, or calls go without a stub.
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

/// The one function that all errors pass, where the image defines it.
fn raised_in(
    isa: &dyn Isa,
    image: &Image<'_>,
    in_crypto: bool,
) -> Option<(&'static str, ErrorProbe)> {
    // What ERR_set_error raises passes ERR_vset_error.
    RAISE[1..].iter().find_map(|(function, reason_arg)| {
        let point = start_of(isa, image, image.symbol(function)?)?;
        let probe = ErrorProbe {
            points: vec![point],
            in_crypto,
            reason_arg: *reason_arg,
        };
        Some((*function, probe))
    })
}
