//! Handshake rate and CPU time of the server, with the agent relative to without.

use anyhow::{Context as _, Result};

use super::{
    client,
    context::{Bench, CASES, Case},
    numbers::{self, median},
    observer::Observer,
    server::Nginx,
};

/// Comparison for one kind of handshake: one value per round.
#[derive(Default)]
pub(super) struct Comparison {
    /// Handshakes per second without the agent.
    pub(super) baseline: Vec<f64>,
    /// Relative rate with the server observed.
    pub(super) server: Vec<f64>,
    /// Relative rate with server and client observed.
    pub(super) both: Vec<f64>,
    /// Relative CPU time of the server per handshake.
    pub(super) server_cpu: Vec<f64>,
}

/// All comparisons, and totals over them.
#[derive(Default)]
pub(super) struct Rates {
    /// Comparisons in the order of [`CASES`].
    pub(super) cases: Vec<Comparison>,
    /// Handshakes in nginx's log, client and server separately.
    pub(super) expected: u64,
    /// Handshakes that the agent counted, including those of other programs on this host.
    pub(super) counted: u64,
    /// Handshakes that the agent counted for their peer.
    pub(super) counted_by_peer: u64,
    /// Lost events (`reprise_events_lost_total`).
    pub(super) lost: u64,
    /// Resident memory of the idle agent, bytes.
    pub(super) resident: Vec<f64>,
    /// Duration of the agent's shutdown after SIGTERM, seconds.
    pub(super) shutdowns: Vec<f64>,
}

/// Runs all comparisons. Runs with and without the agent alternate, so that changes of the machine
/// affect both.
pub(super) fn measure(bench: &Bench<'_>, server: &mut Nginx) -> Result<Rates> {
    let mut rates = Rates::default();
    rates.cases.resize_with(CASES.len(), Comparison::default);
    for round in 0..bench.rounds {
        for (index, case) in CASES.iter().enumerate() {
            // The order alternates between rounds.
            let (baseline, observed) = if round.is_multiple_of(2) {
                let baseline = run_baseline(bench, case, server)?;
                (baseline, run_observed(bench, case, server, &mut rates)?)
            } else {
                let observed = run_observed(bench, case, server, &mut rates)?;
                (run_baseline(bench, case, server)?, observed)
            };
            let comparison = &mut rates.cases[index];
            let relative_cpu = observed.server.server_cpu / baseline.server_cpu;
            comparison.baseline.push(baseline.rate);
            comparison.server.push(observed.server.rate / baseline.rate);
            comparison.both.push(observed.both.rate / baseline.rate);
            comparison.server_cpu.push(relative_cpu);
        }
        let text: Vec<_> = CASES
            .iter()
            .zip(&rates.cases)
            .filter_map(|(case, comparison)| {
                Some(format!("{} {:.3}", case.name, comparison.server.last()?))
            })
            .collect();
        println!("  round {}: {}", round + 1, text.join(", "));
    }
    Ok(rates)
}

/// Runs a client without the agent.
fn run_baseline(bench: &Bench<'_>, case: &Case, server: &mut Nginx) -> Result<client::Run> {
    client::run(bench, case, server, Some(bench.unobserved), bench.seconds)
}

/// Runs with the agent.
struct ObservedRuns {
    /// Only the server is observed.
    server: client::Run,
    /// Server and client are observed.
    both: client::Run,
}

/// Runs an unobserved and an observed client with the agent.
fn run_observed(
    bench: &Bench<'_>,
    case: &Case,
    server: &mut Nginx,
    rates: &mut Rates,
) -> Result<ObservedRuns> {
    let observer = Observer::start(bench)?;
    let before = observer.page()?;
    let memory = "process_resident_memory_bytes";
    rates.resident.push(numbers::sum(&before, memory, &[]));
    let only_server = client::run(bench, case, server, Some(bench.unobserved), bench.seconds)?;
    let both = client::run(bench, case, server, None, bench.seconds)?;
    let address = format!("127.0.0.1:{}", server.port(case));
    let total = |page: &str| {
        let count = |role| numbers::sum(page, "reprise_handshakes_total", &[("role", role)]);
        (count("server") + count("client")) as u64
    };
    let by_peer = |page: &str| {
        let count = |role, peer| {
            let labels = [("role", role), ("peer", peer)];
            numbers::sum(page, "reprise_peer_handshakes_total", &labels)
        };
        (count("server", "127.0.0.1") + count("client", &address)) as u64
    };
    // The agent counts both ends, an unobserved client from the wire.
    let expected = 2 * (only_server.handshakes.total() + both.handshakes.total());
    let after = observer.page_with(total(&before) + expected, total)?;
    rates.expected += expected;
    rates.counted += total(&after) - total(&before);
    rates.counted_by_peer += by_peer(&after) - by_peer(&before);
    rates.lost += numbers::sum(&after, "reprise_events_lost_total", &[]) as u64;
    rates.shutdowns.push(observer.stop()?);
    Ok(ObservedRuns {
        server: only_server,
        both,
    })
}

/// Returns the median of the values of all rounds.
pub(super) fn median_of_rounds(values: &[f64]) -> Result<f64> {
    median(values).context("no measurements")
}
