//! The hidden state machine, in which a drive of the handshake begins, found from exported code.
//!
//! `SSL_set_accept_state` shows in which slot of the method table `accept` is, the `*_method`
//! functions return the tables, relocations give the functions: `ossl_statem_accept` and
//! `ossl_statem_connect` (ssl/methods.c, ssl/statem/statem.c). In a stripped library
//! `method_table` finds the tables. Both functions end in a jump to `state_machine`, where one
//! probe serves both.

use std::collections::{BTreeMap, BTreeSet};

use super::cfg::Graph;
use super::elf::Image;
use super::error::PlanError;
use super::evidence::Evidence;
use super::insn::Flow;
use super::isa::{Call, Isa};
use super::probe_plan::Hook;
use super::trace::{Place, Value};
use super::{boringssl, method_table};

/// Name prefixes of the functions that return a method table. QUIC's are not among them: the
/// handshake inside a QUIC connection is driven through the same functions as any other.
const METHOD_FAMILIES: [&str; 3] = ["TLS", "DTLS", "SSLv"];
/// Limit of such functions that are run; no version has more than 27.
const MAX_METHODS: usize = 64;
/// Limit of instructions of a function that only raises an error.
const MAX_UNDEFINED: usize = 16;
/// Limit of instructions at a function's entry among which one that is cheap to probe is searched.
const MAX_PROLOGUE: usize = 16;

/// The functions in which drives begin.
pub(super) struct Entries {
    /// How they were found.
    pub(super) hook: Hook,
    /// The second argument of the common body is the role.
    pub(super) role_in_argument: bool,
    /// The functions that accept and that connect.
    pub(super) roles: Vec<u64>,
    /// Addresses of the functions from which exits are searched.
    pub(super) functions: Vec<u64>,
    /// The jumps to a common body: one of them runs on each drive, with the stack as at entry.
    pub(super) jumps: Vec<u64>,
}

/// Finds the state machine.
pub(super) fn find(
    isa: &dyn Isa,
    image: &Image<'_>,
    evidence: &mut Evidence,
) -> Result<Entries, PlanError> {
    let function = "SSL_set_accept_state";
    let (accept, connect) = if image.symbol(function).is_some() {
        from_method_functions(isa, image, evidence)?
    } else {
        let found = match method_table::find(image) {
            Some(found) => found,
            None if boringssl::has_text(image) => return Err(PlanError::BoringSsl),
            None => return Err(PlanError::NoSymbol { function }),
        };
        evidence.push((
            "method table",
            format!(
                "no names; by their shape, three tables give accept {:#x} and connect {:#x}, the \
                 one for both roles is at {:#x} with accept in slot {:#x}",
                found.accept, found.connect, found.table, found.slot
            ),
        ));
        (vec![found.accept], vec![found.connect])
    };
    let accept = without_undefined(isa, image, accept);
    let connect = without_undefined(isa, image, connect);
    if let Some(entries) = common_entries(isa, image, &accept, &connect)? {
        evidence.push((
            "state machine",
            format!(
                "accept and connect both jump to {}, from {}",
                addresses(&entries.functions),
                addresses(&entries.jumps)
            ),
        ));
        return Ok(entries);
    }
    evidence.push((
        "state machine",
        "accept and connect have no common body: both are entries".to_owned(),
    ));
    let functions: Vec<u64> = accept.into_iter().chain(connect).collect();
    Ok(Entries {
        hook: Hook::MethodTable,
        role_in_argument: false,
        roles: functions.clone(),
        functions,
        jumps: Vec::new(),
    })
}

/// The functions without those that only raise an error, unless all do. Where all tables of servers
/// serve clients too, or a program has the tables of clients only, `ssl_undefined_function` is in
/// one of the two slots alone and looks like the function of a role.
fn without_undefined(isa: &dyn Isa, image: &Image<'_>, functions: Vec<u64>) -> Vec<u64> {
    let is_undefined = |function: u64| {
        Graph::build(isa, image, &[function]).is_ok_and(|graph| graph.nodes.len() <= MAX_UNDEFINED)
    };
    let real = functions.iter().copied();
    let real: Vec<u64> = real.filter(|function| !is_undefined(*function)).collect();
    match real.is_empty() {
        true => functions,
        false => real,
    }
}

/// The entries of one function that accepts and one that connects, if they have a common body.
fn common_entries(
    isa: &dyn Isa,
    image: &Image<'_>,
    accept: &[u64],
    connect: &[u64],
) -> Result<Option<Entries>, PlanError> {
    let ([accept], [connect]) = (accept, connect) else {
        return Ok(None);
    };
    let Some((body, jumps)) = common_body(isa, image, *accept, *connect)? else {
        return Ok(None);
    };
    Ok(Some(Entries {
        hook: Hook::StateMachine,
        role_in_argument: passes_role(isa, image, *accept, body, 1)
            && passes_role(isa, image, *connect, body, 0),
        roles: vec![*accept, *connect],
        functions: vec![body],
        jumps,
    }))
}

/// Whether `function` calls `body` with `role` as its second argument: `ossl_statem_accept` calls
/// `state_machine(s, 1)`, `ossl_statem_connect` calls `state_machine(s, 0)`.
fn passes_role(isa: &dyn Isa, image: &Image<'_>, function: u64, body: u64, role: u64) -> bool {
    let call = Call {
        stop_at: Some(body),
        ..Call::default()
    };
    isa.interpret(image, function, call).returned == Some(Value::Number(role))
}

/// The functions that accept and that connect in the tables that the `*_method` functions return.
fn from_method_functions(
    isa: &dyn Isa,
    image: &Image<'_>,
    evidence: &mut Evidence,
) -> Result<(Vec<u64>, Vec<u64>), PlanError> {
    let (method, accept_slot) = slot(isa, image, "SSL_set_accept_state")?;
    let (connect_method, connect_slot) = slot(isa, image, "SSL_set_connect_state")?;
    if method != connect_method || accept_slot == connect_slot {
        return Err(PlanError::MethodSlot {
            function: "SSL_set_connect_state",
        });
    }
    let mut names = image.symbols(|name| {
        name.ends_with("_method")
            && METHOD_FAMILIES
                .iter()
                .any(|family| name.starts_with(family))
    });
    names.truncate(MAX_METHODS);
    let tables: BTreeSet<u64> = names
        .iter()
        .filter_map(
            |(_, at)| match isa.interpret(image, *at, Call::default()).returned? {
                // `SSLv2_method` returns null where SSL 2 is not built in.
                Value::Number(table) if table != 0 => Some(table),
                _ => None,
            },
        )
        .collect();
    let in_slot = |slot: i64| -> BTreeSet<u64> {
        let words = tables
            .iter()
            .filter_map(|table| table.checked_add_signed(slot));
        words
            .filter_map(|word| image.pointer(word))
            .filter(|function| image.is_code(*function))
            .collect()
    };
    let (accept, connect) = (in_slot(accept_slot), in_slot(connect_slot));
    // A client's method has `ssl_undefined_function` as accept, a server's has it as connect.
    let undefined: BTreeSet<u64> = accept.intersection(&connect).copied().collect();
    let accept: Vec<u64> = accept.difference(&undefined).copied().collect();
    let connect: Vec<u64> = connect.difference(&undefined).copied().collect();
    evidence.push((
        "method table",
        format!(
            "method at {method:#x}, accept in slot {accept_slot:#x}, connect in slot \
             {connect_slot:#x}; {} tables give accept {} and connect {}",
            tables.len(),
            addresses(&accept),
            addresses(&connect)
        ),
    ));
    if accept.is_empty() || connect.is_empty() {
        return Err(PlanError::NoHandshakeFunction {
            tables: tables.len(),
        });
    }
    Ok((accept, connect))
}

fn addresses(list: &[u64]) -> String {
    list.iter()
        .map(|at| format!("{at:#x}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Offset of `method` in the connection, and of the slot in the method table from which `function`
/// sets the handshake function.
fn slot(isa: &dyn Isa, image: &Image<'_>, function: &'static str) -> Result<(i64, i64), PlanError> {
    let at = image
        .symbol(function)
        .ok_or(PlanError::NoSymbol { function })?;
    let trace = isa.interpret(image, at, Call::default());
    let set = trace
        .writes
        .iter()
        .filter(|write| write.size == 8 && write.place.object == 0)
        .find_map(|write| {
            let Place {
                object,
                offset: slot,
            } = trace.source(write.value)?;
            let Place {
                object: 0,
                offset: method,
            } = trace.origin(object)?
            else {
                return None;
            };
            Some((method, slot))
        });
    set.ok_or(PlanError::MethodSlot { function })
}

/// The function to which both functions jump with the stack as at entry, and those jumps; `None`
/// where each has a body of its own.
fn common_body(
    isa: &dyn Isa,
    image: &Image<'_>,
    accept: u64,
    connect: u64,
) -> Result<Option<(u64, Vec<u64>)>, PlanError> {
    let (a, b) = (
        Graph::build(isa, image, &[accept])?,
        Graph::build(isa, image, &[connect])?,
    );
    // Jumps from code of one function to shared code, by target.
    let crossings = |own: &Graph, other: &Graph, start: u64| -> Option<BTreeMap<u64, Vec<u64>>> {
        let depths = own.depths(&[start]);
        let mut by_target: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for node in own
            .nodes
            .values()
            .filter(|node| !other.nodes.contains_key(&node.insn.at))
        {
            for next in node
                .next
                .iter()
                .filter(|next| other.nodes.contains_key(next))
            {
                let tail_call = matches!(node.insn.flow, Flow::Jump(_))
                    && depths.get(&node.insn.at) == Some(&0);
                if !tail_call {
                    return None;
                }
                by_target.entry(*next).or_default().push(node.insn.at);
            }
        }
        Some(by_target)
    };
    let crossings = crossings(&a, &b, accept).zip(crossings(&b, &a, connect));
    Ok(crossings.and_then(|(from_accept, from_connect)| {
        let ((body, jumps), (other, other_jumps)) = (
            from_accept.first_key_value()?,
            from_connect.first_key_value()?,
        );
        let one = from_accept.len() == 1 && from_connect.len() == 1 && body == other;
        one.then(|| (*body, jumps.iter().chain(other_jumps).copied().collect()))
    }))
}

/// Returns the address to probe for the entry of `function`, and the stack depth there: of the
/// first instruction that the kernel emulates, if those before it run exactly once and do not
/// change the arguments (and with `same_stack` the stack pointer), else of the first one. Calls are
/// skipped for the reason given at `min_cut::Problem::solve`.
pub(super) fn entry_point(
    isa: &dyn Isa,
    image: &Image<'_>,
    graph: &Graph,
    function: u64,
    same_stack: bool,
) -> (u64, i64) {
    let depths = graph.depths(&[function]);
    let mut at = function;
    // The first instruction that the kernel accepts.
    let mut first = None;
    for _ in 0..MAX_PROLOGUE {
        let (Some(node), Some(depth)) = (graph.nodes.get(&at), depths.get(&at)) else {
            break;
        };
        let arrivals = graph
            .nodes
            .values()
            .filter(|node| node.next.contains(&at))
            .count();
        if arrivals != usize::from(at != function) || (same_stack && *depth != 0) {
            break;
        }
        if node.insn.emulated && !matches!(node.insn.flow, Flow::Call(_)) {
            return (at, *depth);
        }
        if !node.insn.refused && first.is_none() {
            first = Some((at, *depth));
        }
        if !isa.preserves_arguments(image, at) {
            break;
        }
        at = node.insn.next;
    }
    first.unwrap_or((function, 0))
}
