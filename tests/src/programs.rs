//! Programs with TLS that report their own handshakes.
//!
//! A short-lived client that is the first user of a library file may end before the agent has
//! attached to the file. Tests therefore start a process that maps the file before they start the
//! agent.

pub mod boringssl;
pub mod gnutls;
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

/// Completed handshakes according to the program itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Counts {
    /// Full handshakes.
    pub full: u32,
    /// Resumed handshakes.
    pub resumed: u32,
}

/// Agent and server of one observation.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The agent under test.
    pub agent: &'a Agent,
    /// The server's port on 127.0.0.1.
    pub port: u16,
    /// The `version` label of all handshakes.
    pub version: &'static str,
}

impl Observation<'_> {
    /// Runs `client` and asserts that the agent's counts for both roles rise by exactly the
    /// returned numbers, in total and per peer, without failures or lost events. Runs `client`
    /// twice, so that a number that changes late is noticed.
    ///
    /// # Panics
    /// If any number differs.
    pub fn observe(&self, mut client: impl FnMut() -> Counts) -> Counts {
        let before = self.agent.metrics();
        let mut all = Counts::default();
        for _ in 0..2 {
            let counts = client();
            all.full += counts.full;
            all.resumed += counts.resumed;
            self.assert_counted(all, &before);
        }
        assert_nothing_lost(&self.agent.metrics());
        self.agent.assert_healthy();
        println!(
            "{} full and {} resumed in TLS {}, both roles",
            all.full, all.resumed, self.version
        );
        all
    }

    fn assert_counted(&self, counts: Counts, before: &Metrics) {
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
        // No handshakes with another version, role or kind.
        let total = 2 * (counts.full + counts.resumed);
        expected.add("reprise_handshakes_total", &[], total);
        expected.add("reprise_handshake_failures_total", &[], 0);
        expected.assert_counted(self.agent, before);
    }
}
