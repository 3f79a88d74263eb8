//! Where drives of the handshake begin and end, by the best hook there is, with the fields that go with it.
//!
//! Called by `plan`. First the state machine, which all ways lead through. Where it is not found, and in BoringSSL, whose ways
//! all lead through `SSL_do_handshake`, the exported functions.

use super::cfg::Graph;
use super::elf::Image;
use super::isa::{Flow, Isa};
use super::statem;
use super::{
    Basis, Evidence, Fields, Hook, NoPlan, ProbePoint, behaviour, boringssl, exits, fields,
    nameless, points,
};

/// The function that drives a handshake, and those that may do so without calling it (`s->method->ssl_accept(s)` in 1.0.2 and in
/// LibreSSL).
const DO_HANDSHAKE: &str = "SSL_do_handshake";
const OTHERS: [&str; 2] = ["SSL_accept", "SSL_connect"];

/// Drives, and how they are read.
pub(super) struct Drives {
    /// How they were found.
    pub(super) hook: Hook,
    /// The second argument at an entry is the role.
    pub(super) role_in_argument: bool,
    /// Where they begin.
    pub(super) entries: Vec<ProbePoint>,
    /// Where they end.
    pub(super) exits: Vec<ProbePoint>,
    /// Where the connection object keeps what is read.
    pub(super) fields: Fields,
    /// What tells how far a handshake is.
    pub(super) basis: Basis,
}

/// Finds them. `crypto` is the image that holds BIO.
pub(super) fn find(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    crypto: &Image<'_>,
    evidence: &mut Evidence,
) -> Result<Drives, NoPlan> {
    if boringssl::has_its_names(ssl) {
        let fields = boringssl::decode(isa, ssl, crypto, evidence)?;
        return by_api(isa, ssl, fields, evidence);
    }
    let mut tried = Evidence::new();
    let reason = match by_state_machine(isa, ssl, crypto, &mut tried) {
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
            "{reason}; so by {DO_HANDSHAKE}: a handshake that SSL_read or SSL_write drives from its beginning is not seen"
        ),
    ));
    // What stood in the way first is what an operator should read.
    let Ok(fields) = fields::decode(isa, ssl, crypto, evidence, |_| {
        Err(NoPlan::Field {
            field: "state",
            accessor: "SSL_in_before",
        })
    }) else {
        return Err(reason);
    };
    by_api(isa, ssl, fields, evidence).map_err(|_| reason)
}

fn by_state_machine(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    crypto: &Image<'_>,
    evidence: &mut Evidence,
) -> Result<Drives, NoPlan> {
    let entries = statem::find(isa, ssl, evidence)?;
    let graph = Graph::walk(isa, ssl, &entries.functions)?;
    let mut basis = Basis::ExportedAccessors;
    let fields = fields::decode(isa, ssl, crypto, evidence, |evidence| {
        basis = Basis::StateMachine;
        nameless::decode(isa, ssl, &graph, &entries, evidence)
    })?;
    let fields = match (entries.hook, entries.functions.as_slice()) {
        (Hook::StateMachine, [body]) => {
            behaviour::complete(isa, ssl, &graph, *body, fields, evidence)
        }
        _ => fields,
    };
    Ok(Drives {
        hook: entries.hook,
        role_in_argument: entries.role_in_argument,
        entries: points::begin(isa, ssl, &graph, &entries)?,
        exits: points::end(isa, ssl, graph, &entries, &fields, evidence)?,
        fields,
        basis,
    })
}

/// Drives by the exported functions. None of the functions chosen calls another one of them.
fn by_api(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    fields: Fields,
    evidence: &mut Evidence,
) -> Result<Drives, NoPlan> {
    let function = DO_HANDSHAKE;
    let at = ssl.symbol(function).ok_or(NoPlan::NoSymbol { function })?;
    let (entry, mut exits) = whole(isa, ssl, at)?;
    let mut entries = vec![entry];
    let mut names = vec![function];
    for other in OTHERS {
        let Some(at) = ssl.symbol(other).filter(|_| fields.handshake.is_none()) else {
            continue;
        };
        // A function that comes by what it drives through an object does not go through `SSL_do_handshake`.
        let on_its_own = Graph::walk(isa, ssl, &[at]).is_ok_and(|graph| {
            graph
                .nodes
                .values()
                .any(|node| matches!(node.insn.flow, Flow::CallIndirect(None)))
        });
        if on_its_own && let Ok((entry, ends)) = whole(isa, ssl, at) {
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

/// Entry and returns of one function.
fn whole(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    function: u64,
) -> Result<(ProbePoint, Vec<ProbePoint>), NoPlan> {
    let graph = Graph::walk(isa, ssl, &[function])?;
    let (at, depth) = statem::entry_point(isa, ssl, &graph, function, true);
    let entry = points::point(isa, ssl, at, depth).ok_or(NoPlan::Undecodable { at })?;
    let exits = exits::returns(&graph, function)?;
    let exits: Option<Vec<ProbePoint>> = exits
        .into_iter()
        .map(|at| points::point(isa, ssl, at, 0))
        .collect();
    Ok((entry, exits.ok_or(NoPlan::NoExit)?))
}
