//! What a field must be, by what the state machine does with it: for libraries whose accessors have no name.
//!
//! Called by `drives` for what no accessor told. A place is taken only where it alone has the effect, and has it in full: what is not
//! certain stays unknown.

use std::collections::BTreeSet;

use super::cfg::Graph;
use super::elf::Image;
use super::isa::{Call, Flow, Given, Isa};
use super::trace::{Trace, Value};
use super::{Evidence, Field, Fields};

/// Versions that the state machine goes on with, and numbers that it refuses: `(s->version >> 8) != SSL3_VERSION_MAJOR`.
const GOOD_VERSIONS: [u64; 4] = [0x0300, 0x0301, 0x0303, 0x0304];
const BAD_VERSIONS: [u64; 3] = [0, 0x0203, 0x0403];
/// `TLS_ST_OK`, and values of `OSSL_HANDSHAKE_STATE` that are tried (include/openssl/ssl.h.in: 51 in 4.0).
const HAND_OK: u64 = 1;
const HAND_STATES: std::ops::Range<u64> = 2..64;
/// Places that one function reads, at most.
const MAX_PLACES: usize = 24;
/// Functions that the state machine calls and that are looked into, and functions tried, at most.
const MAX_CALLEES: usize = 48;
const MAX_FUNCTIONS: usize = 160;
/// Instructions of a function that is looked into, at most: `read_state_machine` and its like are smaller.
const MAX_CALLEE: usize = 1500;

/// Adds to `fields` what is still unknown and can be told from the state machine at `body`, whose code is `graph`.
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
        let found = version(isa, image, body)?;
        let text = format!("the state machine goes on where {found} is 0x03.., and only there");
        evidence.push(("version", text));
        Some(found)
    });
    let hit = fields.hit.or_else(|| {
        let found = hit(isa, image, graph, hand_state?)?;
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

/// Four-byte places of the connection that a run reads, but for one.
fn places(trace: &Trace, but: Option<Field>) -> Vec<Field> {
    let mut places: Vec<Field> = Vec::new();
    for read in trace.reads.iter().filter(|read| read.size == 4) {
        if let Some(field) = trace.field(read.place)
            && field.in_connection().is_some()
            && Some(field) != but
            && !places.contains(&field)
            && places.len() < MAX_PLACES
        {
            places.push(field);
        }
    }
    places
}

/// A fresh handshake goes on to its buffers where the version is one of TLS, and ends in an error where not.
fn version(isa: &dyn Isa, image: &Image<'_>, body: u64) -> Option<Field> {
    let run = |given: Option<Given>| {
        let call = Call {
            // The role, and success of everything that is called.
            command: Some(1),
            calls: Some(1),
            given: [given, None],
            ..Call::default()
        };
        isa.call(image, body, call)
    };
    let length = |field: Field, value: u64| {
        let trace = run(Some(Given { field, value }));
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

/// `ossl_statem_server_write_transition` and its like for clients (ssl/statem/statem_srvr.c, statem_clnt.c): whoever's "finished" comes
/// last ends the handshake, and who that is depends on `hit`. So `hit` makes an end of one state and takes the end from another.
fn hit(isa: &dyn Isa, image: &Image<'_>, graph: &Graph, hand_state: Field) -> Option<Field> {
    let mut found: Vec<Field> = Vec::new();
    let mut look_at = |functions: &BTreeSet<u64>| {
        for function in functions.iter().take(MAX_FUNCTIONS) {
            found.extend(swaps_ends(isa, image, *function, hand_state));
        }
        !found.is_empty()
    };
    // Most compilers put the state machine's two loops into it, some leave them functions of their own.
    let (called, mentioned) = functions(isa, image, graph);
    let near = &called | &mentioned;
    if !look_at(&near) {
        let mut far = BTreeSet::new();
        for callee in called.iter().take(MAX_CALLEES) {
            if let Ok(graph) = Graph::walk(isa, image, &[*callee])
                && graph.nodes.len() <= MAX_CALLEE
            {
                let (called, mentioned) = functions(isa, image, &graph);
                far.extend(called.into_iter().chain(mentioned));
            }
        }
        look_at(&(&far - &near));
    }
    // One for each role.
    let first = *found.first()?;
    (found.len() == 2 && found.iter().all(|field| *field == first)).then_some(first)
}

/// Functions that some code calls, and those whose addresses it takes.
fn functions(isa: &dyn Isa, image: &Image<'_>, graph: &Graph) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut called, mut mentioned) = (BTreeSet::new(), BTreeSet::new());
    for node in graph.nodes.values() {
        if let Flow::Call(target) = node.insn.flow {
            called.insert(target);
        }
        mentioned.extend(isa.mentions(image, node.insn.at));
    }
    mentioned.retain(|address| image.is_code(*address));
    (called, mentioned)
}

/// The one place that, when 1, makes the function end the handshake in a state in which it else would not, and the other way round.
fn swaps_ends(isa: &dyn Isa, image: &Image<'_>, function: u64, hand_state: Field) -> Option<Field> {
    let run = |state: u64, given: Option<Given>| {
        let state = Given {
            field: hand_state,
            value: state,
        };
        let call = Call {
            given: [Some(state), given],
            ..Call::default()
        };
        isa.call(image, function, call)
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
    let mut made = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for state in HAND_STATES {
        let trace = run(state, None);
        let before = ends(&trace);
        for field in places(&trace, Some(hand_state)) {
            let after = ends(&run(state, Some(Given { field, value: 1 })));
            if after != before {
                if after { &mut made } else { &mut taken }.insert(field.offset);
            }
        }
    }
    let mut both = made.intersection(&taken);
    let found = both.next().filter(|_| both.next().is_none())?;
    Some(Field::direct(*found))
}

#[cfg(test)]
mod tests {
    use super::super::{Images, isa, plan, statem, tests::image_of, tests::mutation::libraries};
    use super::*;

    /// What cannot be told is unknown; what is told is right.
    #[test]
    fn what_the_state_machine_does_agrees_with_the_accessors() {
        let mut told = [0, 0];
        for ssl in libraries() {
            let plan = plan(Images {
                ssl: &ssl,
                crypto: None,
            })
            .expect("a whole library has a plan");
            let image = image_of(&ssl);
            let isa = isa::for_machine(image.machine).expect("known");
            let isa = isa.as_ref();
            let entries = statem::find(isa, &image, &mut Evidence::new()).expect("planned");
            let [body] = entries.functions.as_slice() else {
                eprintln!("NOT RUN: {:?} has no common body", plan.build_id);
                continue;
            };
            let graph = Graph::walk(isa, &image, &[*body]).expect("planned");
            let known = Fields {
                version: None,
                hit: None,
                ..plan.fields
            };
            let found = complete(isa, &image, &graph, *body, known, &mut Evidence::new());
            for (count, (found, known)) in told.iter_mut().zip([
                (found.version, plan.fields.version),
                (found.hit, plan.fields.hit),
            ]) {
                assert!(found.is_none() || found == known, "{found:?} in {plan:?}");
                *count += usize::from(found.is_some());
            }
        }
        eprintln!("versions and hits told: {told:?}");
    }
}
