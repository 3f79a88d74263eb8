//! The location of the handshake state in a stripped library, read from its state machine.
//!
//! `state_machine` (ssl/statem/statem.c) begins with `if (st->state == MSG_FLOW_ERROR) return -1;`,
//! so the first number that both roles read from the connection is `state`. To confirm it, the rest
//! of the code must write there and to the place of `hand_state`. All other fields stay unknown.

use super::cfg::Graph;
use super::elf::Image;
use super::error::PlanError;
use super::evidence::Evidence;
use super::field::Field;
use super::fields::{STATE_TO_HAND_STATE, States};
use super::isa::{Call, Isa};
use super::probe_plan::Hook;
use super::statem::Entries;

/// Decodes `state` and `hand_state` from the functions in `graph`.
pub(super) fn decode(
    isa: &dyn Isa,
    image: &Image<'_>,
    graph: &Graph,
    entries: &Entries,
    evidence: &mut Evidence,
) -> Result<States, PlanError> {
    let at = entries.functions.first().copied().unwrap_or_default();
    let failed = |why| PlanError::StrippedState { at, why };
    if entries.hook != Hook::StateMachine {
        return Err(failed("the two roles have no common body"));
    }
    // Compilers move the comparison into the functions of both roles, so these are run. The
    // object's type, which 3.2 and later have at offset 0 and compare there, is not the state.
    let mut first = entries.roles.iter().map(|role| {
        let trace = isa.interpret(image, *role, Call::default());
        trace
            .reads
            .iter()
            .filter(|read| read.size == 4)
            .find_map(|read| read.place.in_root().filter(|offset| *offset > 0))
    });
    let state = first
        .next()
        .flatten()
        .filter(|state| first.all(|other| other == Some(*state)))
        .ok_or(failed(
            "the roles do not read the same number of the connection first",
        ))?;
    let hand_state = state.checked_add(STATE_TO_HAND_STATE).ok_or(failed(
        "the roles do not read the same number of the connection first",
    ))?;
    // Through the connection, or through a pointer to its `statem`.
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
            "no names; both roles read {state:#x} first, and write there and to {hand_state:#x}"
        ),
    ));
    Ok((Field::direct(state), Field::direct(hand_state)))
}
