//! Random loss in one or both directions: every failed handshake has a cause, which is
//! `packet_loss` only where packets were lost.

use std::collections::BTreeMap;

use reprise_tests::capture::{describe, is_loss_visible};
use reprise_tests::lossy::{Failed, Lossy};

/// Connections per round, each with its own address. `REPRISE_LOSS` sets how many times all rounds
/// run; the default is once.
const CONNECTIONS: u32 = 120;

/// Percentage of packets lost to the server and to the client.
const ROUNDS: [(u32, u32); 10] = [
    (0, 0),
    (5, 0),
    (0, 5),
    (5, 5),
    (15, 0),
    (0, 15),
    (15, 15),
    (30, 0),
    (0, 30),
    (30, 30),
];

#[test]
fn causes_match_the_dropped_packets() {
    let repeat = std::env::var("REPRISE_LOSS").unwrap_or_else(|_| "1".to_owned());
    let repeat: usize = repeat.parse().expect("REPRISE_LOSS is a number");
    // Percentages: the minimum over many rounds, and the minimum of a single round.
    let (precision, recalls) = match repeat {
        1 => (95, [("client", 85), ("server", 85)]),
        _ => (95, [("client", 95), ("server", 95)]),
    };
    let mut lossy = Lossy::new();
    let mut all = Vec::new();
    for loss in std::iter::repeat_n(ROUNDS, repeat).flatten() {
        let failed = lossy.round(loss, CONNECTIONS);
        let mut by_cause: BTreeMap<_, u32> = BTreeMap::new();
        for one in &failed {
            *by_cause
                .entry((one.role, one.cause.clone(), one.lost))
                .or_default() += 1;
        }
        println!("{loss:?}: {} failed: {by_cause:?}", failed.len());
        if loss == (0, 0) {
            assert!(failed.iter().all(|one| one.cause == "closed"), "{failed:?}");
            assert_eq!(failed.len() as u32, CONNECTIONS / 4, "{failed:?}");
        }
        all.extend(failed);
    }
    let is_loss = |one: &&Failed| one.cause == "packet_loss";
    let counted: Vec<_> = all.iter().filter(is_loss).collect();
    let right = counted.iter().filter(|one| one.lost).count();
    // Clients that would have ended without loss, too, do not count.
    let meant = all.iter().filter(|one| one.lost_data && !one.unwilling);
    let meant: Vec<_> = meant.collect();
    println!("packet_loss: {} counted, {right} right", counted.len());
    assert!(right * 100 >= counted.len() * precision, "precision");
    for (role, least) in recalls {
        let meant: Vec<_> = meant.iter().filter(|one| one.role == role).collect();
        let missed: Vec<_> = meant.iter().filter(|one| !is_loss(one)).collect();
        let show = |one: &&Failed| is_loss_visible(&one.packets, role == "server");
        let knowable = meant.iter().filter(|one| show(one)).count();
        let found = meant.len() - missed.len();
        println!(
            "{role}: {found} of {} ({knowable} show something there)",
            meant.len()
        );
        for one in &missed {
            let known = if show(one) { "" } else { " (not visible)" };
            println!("  {}{known}: {}", one.cause, describe(&one.packets));
        }
        assert!(meant.len() >= 5, "the loss did too little harm");
        assert!(found * 100 >= meant.len() * least, "recall of a {role}");
    }
}
