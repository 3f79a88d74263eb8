//! Where a library without names keeps its state: read from the state machine itself.
//!
//! Called by `drives` where the accessors of the state have no name. `state_machine` (ssl/statem/statem.c) begins with
//! `if (st->state == MSG_FLOW_ERROR) return -1;`, so the first number that both roles read from the connection is `state`. This holds
//! only if the rest of it writes there too, and where `hand_state` must then be. All other fields stay unknown.

use super::cfg::Graph;
use super::elf::Image;
use super::fields::{STATE_TO_HAND_STATE, States, in_root};
use super::isa::{Call, Isa};
use super::statem::Entries;
use super::{Evidence, Field, Hook, NoPlan};

/// Decodes `state` and `hand_state` from the functions that `graph` holds.
pub(super) fn decode(
    isa: &dyn Isa,
    image: &Image<'_>,
    graph: &Graph,
    entries: &Entries,
    evidence: &mut Evidence,
) -> Result<States, NoPlan> {
    let at = entries.functions.first().copied().unwrap_or_default();
    let failed = |why| NoPlan::NamelessState { at, why };
    if entries.hook != Hook::StateMachine {
        return Err(failed("the two roles have no common part"));
    }
    // Compilers move the comparison into the functions of both roles, so these are asked. The object's type, which 3.2 and later
    // have at its beginning and compare there, is not the state.
    let mut first = entries.roles.iter().map(|role| {
        let trace = isa.call(image, *role, Call::default());
        trace
            .reads
            .iter()
            .filter(|read| read.size == 4)
            .find_map(|read| in_root(read.place).filter(|offset| *offset > 0))
    });
    let state = first
        .next()
        .flatten()
        .filter(|state| first.all(|other| other == Some(*state)))
        .ok_or(failed("no one number of the connection is read first"))?;
    let hand_state = state
        .checked_add(STATE_TO_HAND_STATE)
        .ok_or(failed("no one number of the connection is read first"))?;
    // Through the connection, or through the pointer to `statem` that the function keeps.
    let writes = |offset: u32| {
        graph.nodes.values().any(|node| {
            node.insn.writes.is_some_and(|write| {
                write.changes(i64::from(offset)) || write.changes(i64::from(offset - state))
            })
        })
    };
    if !writes(state) || !writes(hand_state) {
        return Err(failed("nothing writes where the state must be"));
    }
    evidence.push((
        "state",
        format!(
            "no names; both roles read {state:#x} first, and writes there and to {hand_state:#x}"
        ),
    ));
    Ok((Field::direct(state), Field::direct(hand_state)))
}
