//! Programs that carry TLS, each with its own word on its handshakes.
//!
//! Called by `tests/programs.rs`. A client that is the first user of a library file is gone before
//! the agent has attached to it, so tests start a process that only holds the file before they
//! start the agent.

pub mod boringssl;
pub mod native;
pub mod node;
pub mod openssl;
pub mod postgres;
pub mod pyopenssl;
pub mod redis;

use serde::Deserialize;

use crate::agent::Agent;
use crate::metrics::Metrics;
use crate::truth::{Expected, assert_nothing_lost};

/// Completed handshakes, in one program's own words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Counts {
    /// In full.
    pub full: u32,
    /// By resumption.
    pub resumed: u32,
}

/// What is observed.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The agent that is held to the truth.
    pub agent: &'a Agent,
    /// The server's port on 127.0.0.1.
    pub port: u16,
    /// The `version` label of all handshakes.
    pub version: &'static str,
}

impl Scene<'_> {
    /// Runs `client`, and demands that the agent's counts for both roles rise by exactly what it
    /// returns, in total and per peer, with no failure and no lost event. Then has `client` run
    /// again: a number that was right by luck and moves afterwards does not pass.
    ///
    /// # Panics
    /// At the first number that differs.
    pub fn observe(&self, mut client: impl FnMut() -> Counts) -> Counts {
        let before = self.agent.metrics();
        let mut all = Counts::default();
        for _ in 0..2 {
            let counts = client();
            all.full += counts.full;
            all.resumed += counts.resumed;
            self.hold(all, &before);
        }
        assert_nothing_lost(&self.agent.metrics());
        self.agent.assert_sound();
        println!(
            "{} full and {} resumed in TLS {}, both roles",
            all.full, all.resumed, self.version
        );
        all
    }

    fn hold(&self, counts: Counts, before: &Metrics) {
        let mut expected = Expected::default();
        let service = format!("127.0.0.1:{}", self.port);
        for (role, peer) in [("server", "127.0.0.1"), ("client", service.as_str())] {
            for (resumption, count) in [("full", counts.full), ("resumed", counts.resumed)] {
                let labels = [("peer", peer), ("role", role), ("resumption", resumption)];
                expected.add("reprise_peer_handshakes_total", &labels, count);
                let labels = [
                    ("role", role),
                    ("version", self.version),
                    ("resumption", resumption),
                ];
                expected.add("reprise_handshakes_total", &labels, count);
            }
        }
        // Whatever carries another version, role or kind was not made.
        let total = 2 * (counts.full + counts.resumed);
        expected.add("reprise_handshakes_total", &[], total);
        expected.add("reprise_handshake_failures_total", &[], 0);
        expected.hold(self.agent, before);
    }
}
