//! Traps per handshake of each carrier, from the benchmark `tests/benches/carriers/`.

use anyhow::{Context as _, Result, ensure};

use super::{accounting::Accounting, environment, go_on};
use crate::{paths, test};

/// Uprobe programs, in the order of [`Line::traps`].
pub(super) const TRAPS: [&str; 6] = [
    "hs_enter",
    "hs_exit",
    "hs_free",
    "hs_error",
    "hs_rejected",
    "hs_forget",
];

/// One kind of handshake of one carrier.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// The program.
    pub(super) carrier: String,
    /// Which end of the connection it is.
    pub(super) role: String,
    /// Of TLS.
    pub(super) version: String,
    /// `full` or `resumed`.
    pub(super) kind: String,
    /// Runs per handshake.
    pub(super) traps: [f64; TRAPS.len()],
}

/// Counts them all.
pub(super) fn measure() -> Result<Vec<Line>> {
    go_on()?;
    let _accounting = Accounting::switch_on()?;
    let mut cargo = paths::cargo();
    cargo
        .args(["bench", "--package", "reprise-tests", "--bench", "carriers"])
        .env(test::AGENT_ENV, paths::agent()?);
    lines(&environment::output(&mut cargo).context("failed to count traps")?)
}

/// Parses lines of tab-separated fields: `traps`, carrier, role, version, kind, and one value per
/// program.
fn lines(said: &str) -> Result<Vec<Line>> {
    let lines: Result<Vec<_>> = said
        .lines()
        .filter_map(|line| line.strip_prefix("traps\t"))
        .map(|line| parse(line).with_context(|| format!("failed to parse {line:?}")))
        .collect();
    let lines = lines?;
    ensure!(!lines.is_empty(), "nothing was counted: {said}");
    Ok(lines)
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split('\t');
    let mut word = || words.next().map(str::to_owned);
    let (carrier, role, version, kind) = (word()?, word()?, word()?, word()?);
    let mut traps = [0.0; TRAPS.len()];
    for figure in &mut traps {
        *figure = word()?.parse().ok()?;
    }
    Some(Line {
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
    fn lines_are_read_whole_or_not_at_all() {
        let said = "noise\ntraps\tnginx\tserver\t1.3\tfull\t2.00\t1.99\t1.00\t0.00\t0.50\t0.00\n";
        let found = lines(said).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].carrier, "nginx");
        assert_eq!(found[0].traps, [2.0, 1.99, 1.0, 0.0, 0.5, 0.0]);
        assert!(lines("traps\tnginx\tserver\t1.3\tfull\t2.00\n").is_err());
        assert!(lines("noise\n").is_err());
    }
}
