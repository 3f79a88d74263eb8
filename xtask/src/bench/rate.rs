//! Handshakes per second with the agent ÷ without, and what the server's CPU pays.

use anyhow::{Context as _, Result};

use super::{
    Bench, CASES, Case, client,
    numbers::{self, median},
    observer::Observer,
    server::Nginx,
};

/// One comparison: a value per round.
#[derive(Default)]
pub(super) struct Rate {
    /// Handshakes per second without the agent.
    pub(super) alone: Vec<f64>,
    /// With ÷ without, the server observed.
    pub(super) server: Vec<f64>,
    /// With ÷ without, server and client observed.
    pub(super) both: Vec<f64>,
    /// The server's CPU time per handshake, with ÷ without.
    pub(super) cpu: Vec<f64>,
}

/// All comparisons, and what fell off on the way.
#[derive(Default)]
pub(super) struct Rates {
    /// In the order of the cases.
    pub(super) cases: Vec<Rate>,
    /// Handshakes that were to be observed, by nginx's log.
    pub(super) made: u64,
    /// Those that the agent counted; more where other programs on this host made some too.
    pub(super) seen: u64,
    /// Those that it counted for their peer.
    pub(super) named: u64,
    /// `reprise_events_lost_total`.
    pub(super) lost: u64,
    /// Resident memory of the agent at rest, bytes.
    pub(super) resident: Vec<f64>,
    /// Seconds from SIGTERM to the agent's end.
    pub(super) ends: Vec<f64>,
}

/// Makes every comparison, in turn, so that what changes on this machine changes for both sides.
pub(super) fn measure(bench: &Bench<'_>, server: &mut Nginx) -> Result<Rates> {
    let mut rates = Rates::default();
    rates.cases.resize_with(CASES.len(), Rate::default);
    for round in 0..bench.rounds {
        for (index, case) in CASES.iter().enumerate() {
            // Who is first changes from round to round.
            let (alone, [one, both]) = if round.is_multiple_of(2) {
                let alone = alone(bench, case, server)?;
                (alone, observed(bench, case, server, &mut rates)?)
            } else {
                let observed = observed(bench, case, server, &mut rates)?;
                (alone(bench, case, server)?, observed)
            };
            let rate = &mut rates.cases[index];
            rate.alone.push(alone.rate);
            rate.server.push(one.rate / alone.rate);
            rate.both.push(both.rate / alone.rate);
            rate.cpu.push(one.server_cpu / alone.server_cpu);
        }
        let text: Vec<_> = CASES
            .iter()
            .zip(&rates.cases)
            .filter_map(|(case, rate)| Some(format!("{} {:.3}", case.name, rate.server.last()?)))
            .collect();
        println!("  round {}: {}", round + 1, text.join(", "));
    }
    Ok(rates)
}

/// Without the agent.
fn alone(bench: &Bench<'_>, case: &Case, server: &mut Nginx) -> Result<client::Run> {
    client::run(bench, case, server, Some(bench.unobserved), bench.seconds)
}

/// With the agent: first a client that it does not observe, then one that it does.
fn observed(
    bench: &Bench<'_>,
    case: &Case,
    server: &mut Nginx,
    rates: &mut Rates,
) -> Result<[client::Run; 2]> {
    let observer = Observer::start(bench)?;
    let before = observer.page()?;
    let memory = "process_resident_memory_bytes";
    rates.resident.push(numbers::sum(&before, memory, &[]));
    let one = client::run(bench, case, server, Some(bench.unobserved), bench.seconds)?;
    let both = client::run(bench, case, server, None, bench.seconds)?;
    let address = format!("127.0.0.1:{}", server.port(case));
    let total = |page: &str| {
        let of = |role| numbers::sum(page, "reprise_handshakes_total", &[("role", role)]);
        (of("server") + of("client")) as u64
    };
    let named = |page: &str| {
        let of = |role, peer| {
            let labels = [("role", role), ("peer", peer)];
            numbers::sum(page, "reprise_peer_handshakes_total", &labels)
        };
        (of("server", "127.0.0.1") + of("client", &address)) as u64
    };
    // Both ends each: a client whose library is not observed is counted from the wire.
    let made = 2 * (one.made.all() + both.made.all());
    let wanted = total(&before) + made;
    let after = observer.page_with(wanted, total)?;
    rates.made += made;
    rates.seen += total(&after) - total(&before);
    rates.named += named(&after) - named(&before);
    rates.lost += numbers::sum(&after, "reprise_events_lost_total", &[]) as u64;
    rates.ends.push(observer.end()?);
    Ok([one, both])
}

/// The median of a value that every round gave.
pub(super) fn middle(values: &[f64]) -> Result<f64> {
    median(values).context("nothing was measured")
}
