//! Properties that hold for any sequence of handshakes.

use proptest::prelude::*;

use super::{
    super::*,
    host::{Host, Offered, SECOND},
};
use crate::model::{Lookup, Miss, RemovalContext};

#[derive(Debug, Clone)]
enum Step {
    Handshake(u16, Offered, bool, Offered),
    Process(u32),
    End(u32),
    Remove(u64, bool),
    Wait(u64),
    Reject(i64),
    Created(u64),
    Wire(bool),
}

fn offered() -> impl Strategy<Value = Offered> {
    let (hash, key) = (0..20_u64, 0..5_u32);
    prop_oneof![
        Just(Offered::Nothing),
        hash.clone().prop_map(Offered::Id),
        (hash.clone(), key.clone()).prop_map(|(hash, key)| Offered::Ticket(hash, key)),
        (hash, key).prop_map(|(hash, key)| Offered::Psk(hash, key)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (440..443_u16, offered(), any::<bool>(), offered())
            .prop_map(|(port, offered, resumed, issued)| {
                Step::Handshake(port, offered, resumed, issued)
            }),
        1 => (1..4_u32).prop_map(Step::Process),
        1 => (1..4_u32).prop_map(Step::End),
        1 => (0..20_u64, any::<bool>()).prop_map(|(hash, freed)| Step::Remove(hash, freed)),
        1 => any::<u64>().prop_map(|ns| Step::Wait(ns >> 8)),
        1 => any::<i64>().prop_map(Step::Reject),
        1 => any::<u64>().prop_map(Step::Created),
        1 => any::<bool>().prop_map(Step::Wire),
    ]
}

fn run(steps: &[Step]) -> Vec<Option<Miss>> {
    let mut host = Host::new();
    let mut misses = Vec::new();
    for step in steps {
        match step {
            Step::Handshake(port, offered, resumed, issued) => {
                misses.push(host.handshake(*port, *offered, *resumed, *issued));
            }
            Step::Process(tgid) => host.tgid = Some(*tgid),
            Step::End(tgid) => host.diagnoser.process_ended(*tgid, host.now_ns, false),
            Step::Remove(hash, freed) => {
                let context = if *freed {
                    RemovalContext::Freeing
                } else {
                    RemovalContext::Handshake
                };
                host.remove(443, *hash, context);
            }
            Step::Wait(ns) => host.now_ns = host.now_ns.saturating_add(*ns),
            Step::Reject(age) => host.reject(*age),
            Step::Created(at) => {
                host.session.age.created_ns = Some(*at);
                host.session.lookup = Lookup::NotFound;
            }
            Step::Wire(wire) => host.wire_only = *wire,
        }
    }
    misses
}

proptest! {
    #[test]
    fn any_sequence_is_diagnosed_the_same_way_twice(
        steps in proptest::collection::vec(step(), 0..120)
    ) {
        let misses = run(&steps);
        prop_assert_eq!(&misses, &run(&steps));
        for miss in misses.iter().flatten() {
            let rule = RULES.iter().find(|rule| rule.name == miss.evidence.rule);
            prop_assert_eq!(rule.map(|rule| rule.reason), Some(miss.reason));
            prop_assert!(miss.evidence.to_string().starts_with("rule "));
        }
    }

    #[test]
    fn a_service_that_accepts_everything_it_issued_never_misses(ids in 1..200_u64) {
        let mut host = Host::new();
        for id in 0..ids {
            host.full(443, Offered::Id(id));
            host.wait(SECOND);
            prop_assert_eq!(host.handshake(443, Offered::Id(id), true, Offered::Nothing), None);
        }
    }
}
