//! Inference of fields from their effect on the state machine, for libraries without accessors.
//!
//! A place is accepted only if it alone has the whole effect; otherwise the field stays unknown.

use std::collections::BTreeSet;

use super::cfg::Graph;
use super::elf::Image;
use super::evidence::Evidence;
use super::field::Field;
use super::insn::Flow;
use super::isa::{Call, Isa, Preset};
use super::probe_plan::Fields;
use super::trace::{Trace, Value};

/// Versions that the state machine accepts, and numbers that it rejects:
/// `(s->version >> 8) != SSL3_VERSION_MAJOR`.
const GOOD_VERSIONS: [u64; 4] = [0x0300, 0x0301, 0x0303, 0x0304];
const BAD_VERSIONS: [u64; 3] = [0, 0x0203, 0x0403];
/// `TLS_ST_OK`, and the values of `OSSL_HANDSHAKE_STATE` that are tried (include/openssl/ssl.h.in:
/// 51 in 4.0).
const HAND_OK: u64 = 1;
const HAND_STATES: std::ops::Range<u64> = 2..64;
/// Limit of places read by one function.
const MAX_PLACES: usize = 24;
/// Limits of callees of the state machine that are decoded, and of functions tried.
const MAX_CALLEES: usize = 48;
const MAX_FUNCTIONS: usize = 160;
/// Limit of instructions of a callee: `read_state_machine` and `write_state_machine` are smaller.
const MAX_CALLEE: usize = 1500;

/// Adds unknown fields to `fields` that the state machine at `body`, with the code in `graph`,
/// shows.
pub(super) fn complete(
    isa: &dyn Isa,
    image: &Image<'_>,
    graph: &Graph,
    body: u64,
    fields: Fields,
    evidence: &mut Evidence,
) -> Fields {
    let hand_state = fields.hand_state;
    let version = fields.version.or_else(|| {
        let found = find_version(isa, image, body)?;
        let text = format!("the state machine continues where {found} is 0x03.., and only there");
        evidence.push(("version", text));
        Some(found)
    });
    let hit = fields.hit.or_else(|| {
        let found = find_hit(isa, image, graph, hand_state?)?;
        let text = format!("{found} alone swaps the two ends of a handshake, for both roles");
        evidence.push(("hit", text));
        Some(found)
    });
    Fields {
        version,
        hit,
        ..fields
    }
}

/// Four-byte places of the connection that a run reads, except one.
fn places(trace: &Trace, except: Option<Field>) -> Vec<Field> {
    let mut places: Vec<Field> = Vec::new();
    for read in trace.reads.iter().filter(|read| read.size == 4) {
        if let Some(field) = trace.field(read.place)
            && field.in_connection().is_some()
            && Some(field) != except
            && !places.contains(&field)
            && places.len() < MAX_PLACES
        {
            places.push(field);
        }
    }
    places
}

/// Finds `version`: a new handshake continues to its buffers if the version is one of TLS, and ends
/// in an error otherwise.
fn find_version(isa: &dyn Isa, image: &Image<'_>, body: u64) -> Option<Field> {
    let run = |preset: Option<Preset>| {
        let call = Call {
            // The role, and success of all calls.
            second_argument: Some(1),
            call_result: Some(1),
            presets: [preset, None],
            ..Call::default()
        };
        isa.interpret(image, body, call)
    };
    let length = |field: Field, value: u64| {
        let trace = run(Some(Preset { field, value }));
        trace.reads.len() + trace.writes.len() + trace.calls.len()
    };
    let decides = |field: Field| {
        let good = GOOD_VERSIONS.map(|value| length(field, value));
        let bad = BAD_VERSIONS.map(|value| length(field, value));
        let same = |lengths: &[usize]| lengths.windows(2).all(|pair| pair[0] == pair[1]);
        same(&good) && same(&bad) && good[0] != bad[0]
    };
    let mut found = places(&run(None), None)
        .into_iter()
        .filter(|field| decides(*field));
    found.next().filter(|_| found.next().is_none())
}

/// Finds `hit` in `ossl_statem_server_write_transition` and its counterpart for clients
/// (ssl/statem/statem_srvr.c, statem_clnt.c): the side that sends the last Finished ends the
/// handshake, and `hit` decides which side that is. So `hit` makes one state final instead of
/// another.
fn find_hit(isa: &dyn Isa, image: &Image<'_>, graph: &Graph, hand_state: Field) -> Option<Field> {
    let mut found: Vec<Field> = Vec::new();
    let mut try_all = |functions: &BTreeSet<u64>| {
        for function in functions.iter().take(MAX_FUNCTIONS) {
            found.extend(find_end_swap(isa, image, *function, hand_state));
        }
        !found.is_empty()
    };
    // Most compilers inline the state machine's two loops, some do not.
    let (called, referenced) = functions(isa, image, graph);
    let near = &called | &referenced;
    if !try_all(&near) {
        let mut far = BTreeSet::new();
        for callee in called.iter().take(MAX_CALLEES) {
            if let Ok(graph) = Graph::build(isa, image, &[*callee])
                && graph.nodes.len() <= MAX_CALLEE
            {
                let (called, referenced) = functions(isa, image, &graph);
                far.extend(called.into_iter().chain(referenced));
            }
        }
        try_all(&(&far - &near));
    }
    // One for each role.
    let first = *found.first()?;
    (found.len() == 2 && found.iter().all(|field| *field == first)).then_some(first)
}

/// The functions that code calls, and those of which it takes the address.
fn functions(isa: &dyn Isa, image: &Image<'_>, graph: &Graph) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut called, mut referenced) = (BTreeSet::new(), BTreeSet::new());
    for node in graph.nodes.values() {
        if let Flow::Call(target) = node.insn.flow {
            called.insert(target);
        }
        referenced.extend(isa.referenced_addresses(image, node.insn.at));
    }
    referenced.retain(|address| image.is_code(*address));
    (called, referenced)
}

/// The only place that, if it is 1, makes the function end the handshake in a state in which it
/// otherwise does not, and not end it in another in which it otherwise does.
fn find_end_swap(
    isa: &dyn Isa,
    image: &Image<'_>,
    function: u64,
    hand_state: Field,
) -> Option<Field> {
    let run = |state: u64, preset: Option<Preset>| {
        let state = Preset {
            field: hand_state,
            value: state,
        };
        let call = Call {
            presets: [Some(state), preset],
            ..Call::default()
        };
        isa.interpret(image, function, call)
    };
    let hand_state_at = hand_state.in_connection().map(i64::from)?;
    let first = run(HAND_STATES.start, None);
    let reads_state = first
        .reads
        .iter()
        .any(|read| read.place.offset == hand_state_at);
    if !reads_state {
        return None;
    }
    let ends = |trace: &Trace| {
        let set = trace.writes.iter().rfind(|write| {
            write.place.object == 0 && write.place.offset == hand_state_at && write.size == 4
        });
        set.map(|write| write.value) == Some(Value::Number(HAND_OK))
    };
    let mut added = BTreeSet::new();
    let mut removed = BTreeSet::new();
    for state in HAND_STATES {
        let trace = run(state, None);
        let before = ends(&trace);
        for field in places(&trace, Some(hand_state)) {
            let after = ends(&run(state, Some(Preset { field, value: 1 })));
            if after != before {
                if after { &mut added } else { &mut removed }.insert(field.offset);
            }
        }
    }
    let mut both = added.intersection(&removed);
    let found = both.next().filter(|_| both.next().is_none())?;
    Some(Field::direct(*found))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{image_from_file, mutation::libraries};
    use super::super::{Images, machine, plan, statem};
    use super::*;

    /// An inferred field is either unknown or equal to the decoded one.
    #[test]
    fn inferred_fields_agree_with_the_accessors() {
        let mut counts = [0, 0];
        for ssl in libraries() {
            let plan = plan(Images {
                ssl: &ssl,
                crypto: None,
            })
            .expect("a whole library has a plan");
            let image = image_from_file(&ssl);
            let isa = machine::isa_for(image.machine).expect("known");
            let isa = isa.as_ref();
            let entries = statem::find(isa, &image, &mut Evidence::new()).expect("planned");
            let [body] = entries.functions.as_slice() else {
                eprintln!("NOT RUN: {:?} has no common body", plan.build_id);
                continue;
            };
            let graph = Graph::build(isa, &image, &[*body]).expect("planned");
            let known = Fields {
                version: None,
                hit: None,
                ..plan.fields
            };
            let found = complete(isa, &image, &graph, *body, known, &mut Evidence::new());
            for (count, (found, known)) in counts.iter_mut().zip([
                (found.version, plan.fields.version),
                (found.hit, plan.fields.hit),
            ]) {
                assert!(found.is_none() || found == known, "{found:?} in {plan:?}");
                *count += usize::from(found.is_some());
            }
        }
        eprintln!("versions and hits inferred: {counts:?}");
    }
}
