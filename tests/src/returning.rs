//! Clients that return after intervals of a known distribution (`fixtures/returning.py`).

use std::process::Command;

use serde::Deserialize;

use crate::host_lock;
use crate::process::{PYTHON, fixture, run};

/// Delay of a connection up to which the intervals are those of the distribution, mean intervals.
const MAX_DELAY: f64 = 0.25;

/// Distribution of the intervals between the connections of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returns {
    /// The mean, give or take one percent.
    Constant,
    /// Exponential: a client returns at any time with the same probability.
    Exponential,
    /// Pareto with shape 1.2: most return soon, a few very late.
    HeavyTailed,
    /// A third of the clients of each of the three kinds.
    Mixed,
}

impl Returns {
    const fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Exponential => "exponential",
            Self::HeavyTailed => "heavy",
            Self::Mixed => "mixed",
        }
    }
}

/// Clients with addresses of their own.
#[derive(Debug, Clone, Copy)]
pub struct Returning {
    /// Number of clients.
    pub clients: u32,
    /// Connections of all clients.
    pub connections: u32,
    /// Distribution of their intervals.
    pub returns: Returns,
    /// TLS 1.3 instead of 1.2.
    pub tls13: bool,
    /// Mean interval, seconds.
    pub mean_s: u32,
    /// Time after which the offers are counted apart, seconds.
    pub skip_s: u32,
}

/// Offers of the clients in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Offers {
    /// Connections that offered a session.
    pub offered: u32,
    /// Those that resumed it.
    pub resumed: u32,
}

/// Report of the clients.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Returned {
    /// All offers.
    pub all: Offers,
    /// The offers after the first `skip_s` seconds.
    pub later: Offers,
    /// Greatest delay of a connection, seconds.
    pub delay: f64,
}

impl Offers {
    /// Share of the offers that were resumed.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        f64::from(self.resumed) / f64::from(self.offered)
    }
}

impl Returning {
    /// Runs the clients, without sessions at first, against the server at `port`.
    ///
    /// # Panics
    /// If a connection fails.
    #[must_use]
    pub fn run(self, port: u16, seed: u32) -> Returned {
        host_lock::acquire();
        let mut command = Command::new(PYTHON);
        command.arg(fixture("returning.py"));
        for (name, value) in [
            ("--port", u32::from(port)),
            ("--clients", self.clients),
            ("--connections", self.connections),
            ("--seed", seed),
            ("--mean", self.mean_s),
            ("--skip", self.skip_s),
        ] {
            command.args([name, &value.to_string()]);
        }
        let tls = if self.tls13 { "1.3" } else { "1.2" };
        command.args(["--returns", self.returns.name(), "--tls", tls]);
        serde_json::from_str(&run(&mut command)).expect("no report")
    }

    /// Like [`Self::run`], with intervals as wanted.
    ///
    /// # Panics
    /// Also if the host is too slow for the intervals.
    #[must_use]
    pub fn run_in_time(self, port: u16, seed: u32) -> Returned {
        let returned = self.run(port, seed);
        let max_delay_s = f64::from(self.mean_s) * MAX_DELAY;
        assert!(
            returned.delay < max_delay_s,
            "too slow a host: {returned:?}"
        );
        returned
    }
}
