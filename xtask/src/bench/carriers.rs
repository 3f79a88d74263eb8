//! Traps per handshake of each carrier, from the benchmark `tests/benches/carriers/`.

use anyhow::{Context as _, Result, ensure};

use super::{accounting::BpfStatistics, context::check_interrupt, environment};
use crate::{paths, test};

/// Uprobe programs, in the order of [`CarrierTraps::traps`].
pub(super) const PROGRAMS: [&str; 6] = [
    "hs_enter",
    "hs_exit",
    "hs_free",
    "hs_error",
    "hs_rejected",
    "hs_forget",
];

/// Traps of a kind of handshake of a carrier.
#[derive(Debug, PartialEq)]
pub(super) struct CarrierTraps {
    /// Name of the carrier.
    pub(super) carrier: String,
    /// `server` or `client`.
    pub(super) role: String,
    /// TLS version.
    pub(super) version: String,
    /// `full` or `resumed`.
    pub(super) kind: String,
    /// Runs per handshake.
    pub(super) traps: [f64; PROGRAMS.len()],
}

/// Runs the benchmark and returns the traps of all carriers.
pub(super) fn measure() -> Result<Vec<CarrierTraps>> {
    check_interrupt()?;
    let _statistics = BpfStatistics::enable()?;
    let mut cargo = paths::cargo();
    cargo
        .args(["bench", "--package", "reprise-tests", "--bench", "carriers"])
        .env(test::AGENT_ENV, paths::agent()?);
    parse(&environment::output(&mut cargo).context("failed to count traps")?)
}

/// Parses lines of tab-separated fields: `traps`, carrier, role, version, kind, and one value per
/// program.
fn parse(output: &str) -> Result<Vec<CarrierTraps>> {
    let carriers: Result<Vec<_>> = output
        .lines()
        .filter_map(|line| line.strip_prefix("traps\t"))
        .map(|line| parse_line(line).with_context(|| format!("failed to parse {line:?}")))
        .collect();
    let carriers = carriers?;
    ensure!(
        !carriers.is_empty(),
        "no traps in the benchmark's output: {output}"
    );
    Ok(carriers)
}

fn parse_line(line: &str) -> Option<CarrierTraps> {
    let mut fields = line.split('\t');
    let mut field = || fields.next().map(str::to_owned);
    let (carrier, role, version, kind) = (field()?, field()?, field()?, field()?);
    let mut traps = [0.0; PROGRAMS.len()];
    for trap in &mut traps {
        *trap = field()?.parse().ok()?;
    }
    Some(CarrierTraps {
        carrier,
        role,
        version,
        kind,
        traps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_lines_are_rejected() {
        let output = "noise\ntraps\tnginx\tserver\t1.3\tfull\t2.00\t1.99\t1.00\t0.00\t0.50\t0.00\n";
        let found = parse(output).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].carrier, "nginx");
        assert_eq!(found[0].traps, [2.0, 1.99, 1.0, 0.0, 0.5, 0.0]);
        assert!(parse("traps\tnginx\tserver\t1.3\tfull\t2.00\n").is_err());
        assert!(parse("noise\n").is_err());
    }
}
