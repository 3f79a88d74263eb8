//! Where a drive of the handshake begins: the hidden state machine, found from exported code alone.
//!
//! Called by `plan`. `SSL_set_accept_state` shows in which slot of the method table `accept` is, the `*_method` functions
//! show the tables, relocations give the functions: `ossl_statem_accept` and `ossl_statem_connect`
//! (ssl/methods.c, ssl/statem/statem.c). Where nothing has a name, `shape` finds the tables. Both end in a jump to `state_machine`, and that is where a probe serves both.

use std::collections::{BTreeMap, BTreeSet};

use super::cfg::Graph;
use super::elf::Image;
use super::isa::{Call, Flow, Isa};
use super::trace::{Place, Value};
use super::{Evidence, Hook, NoPlan, boringssl, shape};

/// Functions that hand out a method table, by the first letters of their names. QUIC's are not among them: the handshake
/// inside a QUIC connection is driven through the same functions as any other.
const METHOD_FAMILIES: [&str; 3] = ["TLS", "DTLS", "SSLv"];
/// Such functions called, at most; there are 27 at most.
const MAX_METHODS: usize = 64;
/// Instructions of a function that does nothing but raise an error, at most.
const MAX_STUB: usize = 16;
/// Instructions looked at before an entry to find one that is cheap to probe.
const MAX_PROLOGUE: usize = 16;

/// Where drives begin.
pub(super) struct Entries {
    /// How they were found.
    pub(super) hook: Hook,
    /// The second argument of the common body is the role.
    pub(super) role_in_argument: bool,
    /// The functions to accept and to connect.
    pub(super) roles: Vec<u64>,
    /// Where functions begin, by address: what exits are searched from.
    pub(super) functions: Vec<u64>,
    /// The jumps by which control comes to a common body: one of them runs on each drive, with the stack as at entry.
    pub(super) jumps: Vec<u64>,
}

/// Finds the state machine.
pub(super) fn find(
    isa: &dyn Isa,
    image: &Image<'_>,
    evidence: &mut Evidence,
) -> Result<Entries, NoPlan> {
    let function = "SSL_set_accept_state";
    let (accept, connect) = if image.symbol(function).is_some() {
        by_name(isa, image, evidence)?
    } else {
        let found = match shape::find(image) {
            Some(found) => found,
            None if boringssl::has_its_text(image) => return Err(NoPlan::BoringSsl),
            None => return Err(NoPlan::NoSymbol { function }),
        };
        evidence.push((
            "method table",
            format!(
                "no names; by their shape, three tables give accept {:#x} and connect {:#x}, the one for both roles is at \
                 {:#x} with accept in slot {:#x}",
                found.accept, found.connect, found.table, found.slot
            ),
        ));
        (vec![found.accept], vec![found.connect])
    };
    let accept = without_stubs(isa, image, accept);
    let connect = without_stubs(isa, image, connect);
    if let Some(entries) = one_body(isa, image, &accept, &connect)? {
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

/// The functions without those that do next to nothing, if that leaves any: where all tables of servers serve clients too, or a program
/// keeps only the tables of clients, `ssl_undefined_function` is in one of the two slots alone and looks like a role of its own.
fn without_stubs(isa: &dyn Isa, image: &Image<'_>, functions: Vec<u64>) -> Vec<u64> {
    let is_stub = |function: u64| {
        Graph::walk(isa, image, &[function]).is_ok_and(|graph| graph.nodes.len() <= MAX_STUB)
    };
    let real = functions.iter().copied();
    let real: Vec<u64> = real.filter(|function| !is_stub(*function)).collect();
    match real.is_empty() {
        true => functions,
        false => real,
    }
}

/// The one function to accept and the one to connect, if they have a common body.
fn one_body(
    isa: &dyn Isa,
    image: &Image<'_>,
    accept: &[u64],
    connect: &[u64],
) -> Result<Option<Entries>, NoPlan> {
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

/// `ossl_statem_accept` calls `state_machine(s, 1)`, `ossl_statem_connect` calls `state_machine(s, 0)`.
fn passes_role(isa: &dyn Isa, image: &Image<'_>, function: u64, body: u64, role: u64) -> bool {
    let call = Call {
        until: Some(body),
        ..Call::default()
    };
    isa.call(image, function, call).returned == Some(Value::Number(role))
}

/// The functions to accept and to connect in the tables that the `*_method` functions hand out.
fn by_name(
    isa: &dyn Isa,
    image: &Image<'_>,
    evidence: &mut Evidence,
) -> Result<(Vec<u64>, Vec<u64>), NoPlan> {
    let (method, accept_slot) = slot(isa, image, "SSL_set_accept_state")?;
    let (connect_method, connect_slot) = slot(isa, image, "SSL_set_connect_state")?;
    if method != connect_method || accept_slot == connect_slot {
        return Err(NoPlan::MethodSlot {
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
            |(_, at)| match isa.call(image, *at, Call::default()).returned? {
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
            "method at {method:#x}, accept in slot {accept_slot:#x}, connect in slot {connect_slot:#x}; {} tables give \
             accept {} and connect {}",
            tables.len(),
            addresses(&accept),
            addresses(&connect)
        ),
    ));
    if accept.is_empty() || connect.is_empty() {
        return Err(NoPlan::NoHandshakeFunction {
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

/// Offset of `method` in the connection, and of the slot in the method table from which `function` sets the handshake
/// function.
fn slot(isa: &dyn Isa, image: &Image<'_>, function: &'static str) -> Result<(i64, i64), NoPlan> {
    let at = image
        .symbol(function)
        .ok_or(NoPlan::NoSymbol { function })?;
    let trace = isa.call(image, at, Call::default());
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
    set.ok_or(NoPlan::MethodSlot { function })
}

/// The function that both jump to with the stack as they found it, and those jumps; `None` when they have bodies of their
/// own.
fn common_body(
    isa: &dyn Isa,
    image: &Image<'_>,
    accept: u64,
    connect: u64,
) -> Result<Option<(u64, Vec<u64>)>, NoPlan> {
    let (a, b) = (
        Graph::walk(isa, image, &[accept])?,
        Graph::walk(isa, image, &[connect])?,
    );
    // Jumps from what only one of them runs to what both run, by target.
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

/// Where to probe the beginning of `function`: the first instruction that the kernel emulates, as long as those before it
/// leave the arguments (and with `same_stack` the stack pointer) alone and run exactly once; else the first one. With it,
/// the stack depth there. Calls are passed over for the reason given at `cut::Problem::solve`.
pub(super) fn entry_point(
    isa: &dyn Isa,
    image: &Image<'_>,
    graph: &Graph,
    function: u64,
    same_stack: bool,
) -> (u64, i64) {
    let depths = graph.depths(&[function]);
    let mut at = function;
    // The first instruction that can be probed at all.
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
        if !isa.keeps_arguments(image, at) {
            break;
        }
        at = node.insn.next;
    }
    first.unwrap_or((function, 0))
}
