//! Random walks through real state machines: every path passes exactly one exit.

use std::collections::BTreeSet;

use super::super::{Images, cfg::Graph, machine, plan, statem};
use super::image_from_file;
use super::mutation::{Numbers, libraries};

/// Walks through each function, and limit of instructions in one walk.
const WALKS: usize = 400;
const STEPS: usize = 20_000;

#[test]
fn every_path_through_a_drive_passes_one_exit() {
    let mut walked = 0;
    for ssl in libraries() {
        let plan = plan(Images {
            ssl: &ssl,
            crypto: None,
        })
        .expect("a whole library has a plan");
        let image = image_from_file(&ssl);
        let isa = machine::isa_for(image.machine).expect("known");
        let entries = statem::find(isa.as_ref(), &image, &mut Vec::new()).expect("planned");
        let exits: BTreeSet<u64> = plan.exits.iter().map(|exit| exit.offset).collect();
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for function in &entries.functions {
            let graph = Graph::build(isa.as_ref(), &image, &[*function]).expect("decodable");
            for _ in 0..WALKS {
                let (mut at, mut passed, mut looped) = (*function, 0, false);
                let mut seen = BTreeSet::new();
                let left = (0..STEPS).any(|_| {
                    let node = &graph.nodes[&at];
                    looped |= !seen.insert(at);
                    let offset = image.file_offset(at).expect("code");
                    passed += usize::from(exits.contains(&offset));
                    match node.next.get(numbers.below(node.next.len())) {
                        Some(next) => at = *next,
                        // A call that does not return is not an exit.
                        None => return node.is_exit,
                    }
                    false
                });
                // Without a loop no message was processed: such a drive may end unobserved.
                let right = match (left, looped) {
                    (true, true) => passed == 1,
                    _ => passed <= 1,
                };
                assert!(
                    right,
                    "{passed} exits from {function:#x} to {at:#x}: {plan:?}"
                );
                walked += usize::from(left && passed == 1);
            }
        }
    }
    eprintln!("{walked} complete walks, each with one exit");
}
