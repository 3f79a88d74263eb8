//! The hook of a library: where drives of the handshake begin and end, and the fields that go with
//! it.
//!
//! The state machine comes first, since all handshakes pass through it. The exported functions
//! serve where it is not found, and for BoringSSL, where all handshakes pass `SSL_do_handshake`.

use super::cfg::Graph;
use super::elf::Image;
use super::error::PlanError;
use super::evidence::Evidence;
use super::insn::Flow;
use super::isa::Isa;
use super::probe_plan::{Basis, Fields, Hook, ProbePoint};
use super::{boringssl, exits, field_inference, fields, points, statem, stripped};

/// The function that drives a handshake.
const DO_HANDSHAKE: &str = "SSL_do_handshake";
/// Functions that may drive one without calling it (`s->method->ssl_accept(s)` in 1.0.2 and in
/// LibreSSL).
const OTHERS: [&str; 2] = ["SSL_accept", "SSL_connect"];

/// Drives of the handshake, and the layout that goes with them.
pub(super) struct Drives {
    /// How they were found.
    pub(super) hook: Hook,
    /// The second argument at an entry is the role.
    pub(super) role_in_argument: bool,
    /// Entry points.
    pub(super) entries: Vec<ProbePoint>,
    /// Exit points.
    pub(super) exits: Vec<ProbePoint>,
    /// Layout of the connection object.
    pub(super) fields: Fields,
    /// Source of the handshake state's location.
    pub(super) basis: Basis,
}

/// Finds the drives. `crypto` is the image that holds BIO.
pub(super) fn find(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    crypto: &Image<'_>,
    evidence: &mut Evidence,
) -> Result<Drives, PlanError> {
    if boringssl::has_symbols(ssl) {
        let fields = boringssl::decode(isa, ssl, crypto, evidence)?;
        return from_exported_functions(isa, ssl, fields, evidence);
    }
    let mut tried = Evidence::new();
    let reason = match from_state_machine(isa, ssl, crypto, &mut tried) {
        Ok(drives) => {
            evidence.append(&mut tried);
            return Ok(drives);
        }
        Err(reason) => reason,
    };
    if ssl.symbol(DO_HANDSHAKE).is_none() {
        return Err(reason);
    }
    evidence.push((
        "state machine",
        format!(
            "{reason}; so by {DO_HANDSHAKE}: a handshake that SSL_read or SSL_write drives from its \
             beginning is not seen"
        ),
    ));
    // The first failure is the one that an operator can act on.
    let Ok(fields) = fields::decode(isa, ssl, crypto, evidence, |_| {
        Err(PlanError::Field {
            field: "state",
            accessor: "SSL_in_before",
        })
    }) else {
        return Err(reason);
    };
    from_exported_functions(isa, ssl, fields, evidence).map_err(|_| reason)
}

/// Drives of the state machine.
fn from_state_machine(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    crypto: &Image<'_>,
    evidence: &mut Evidence,
) -> Result<Drives, PlanError> {
    let entries = statem::find(isa, ssl, evidence)?;
    let graph = Graph::build(isa, ssl, &entries.functions)?;
    let mut basis = Basis::ExportedAccessors;
    let fields = fields::decode(isa, ssl, crypto, evidence, |evidence| {
        basis = Basis::StateMachine;
        stripped::decode(isa, ssl, &graph, &entries, evidence)
    })?;
    let fields = match (entries.hook, entries.functions.as_slice()) {
        (Hook::StateMachine, [body]) => {
            field_inference::complete(isa, ssl, &graph, *body, fields, evidence)
        }
        _ => fields,
    };
    Ok(Drives {
        hook: entries.hook,
        role_in_argument: entries.role_in_argument,
        entries: points::for_entries(isa, ssl, &graph, &entries)?,
        exits: points::for_exits(isa, ssl, graph, &entries, &fields, evidence)?,
        fields,
        basis,
    })
}

/// Drives of the exported functions, chosen so that none calls another one.
fn from_exported_functions(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    fields: Fields,
    evidence: &mut Evidence,
) -> Result<Drives, PlanError> {
    let function = DO_HANDSHAKE;
    let at = ssl
        .symbol(function)
        .ok_or(PlanError::NoSymbol { function })?;
    let (entry, mut exits) = entry_and_returns(isa, ssl, at)?;
    let mut entries = vec![entry];
    let mut names = vec![function];
    for other in OTHERS {
        let Some(at) = ssl.symbol(other).filter(|_| fields.handshake.is_none()) else {
            continue;
        };
        // A call through an object's pointer does not go to `SSL_do_handshake`.
        let is_independent = Graph::build(isa, ssl, &[at]).is_ok_and(|graph| {
            graph
                .nodes
                .values()
                .any(|node| matches!(node.insn.flow, Flow::CallIndirect(None)))
        });
        if is_independent && let Ok((entry, ends)) = entry_and_returns(isa, ssl, at) {
            entries.push(entry);
            exits.extend(ends);
            names.push(other);
        }
    }
    evidence.push((
        "exits",
        format!("the return instructions of {}", names.join(", ")),
    ));
    Ok(Drives {
        hook: Hook::DoHandshake,
        role_in_argument: false,
        entries,
        exits,
        fields,
        basis: Basis::ExportedAccessors,
    })
}

/// Entry point and return points of one function.
fn entry_and_returns(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    function: u64,
) -> Result<(ProbePoint, Vec<ProbePoint>), PlanError> {
    let graph = Graph::build(isa, ssl, &[function])?;
    let (at, depth) = statem::entry_point(isa, ssl, &graph, function, true);
    let entry =
        points::for_instruction(isa, ssl, at, depth).ok_or(PlanError::Undecodable { at })?;
    let exits = exits::returns(&graph, function)?;
    let exits: Option<Vec<ProbePoint>> = exits
        .into_iter()
        .map(|at| points::for_instruction(isa, ssl, at, 0))
        .collect();
    Ok((entry, exits.ok_or(PlanError::NoExit)?))
}
