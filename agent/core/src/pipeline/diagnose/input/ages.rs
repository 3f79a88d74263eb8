//! Ages of an offered session by the clocks that are known.

use super::found_creation_ns;
use crate::pipeline::diagnose::{
    facts::CLOCK_NS,
    sessions::IssuedSession,
    tables::{Server, Tables},
};

/// Ages of the offered session, where they are known.
pub(super) struct Ages {
    /// Observed age, nanoseconds.
    pub(super) observed_ns: Option<u64>,
    /// Age by the host's clock, where the server's clock differs from it, nanoseconds.
    pub(super) by_host_clock_ns: Option<u64>,
    /// Age by the server's clock, which was stepped since it issued the session, nanoseconds.
    pub(super) by_stepped_clock_ns: Option<u64>,
    /// Step of the server's clock since the session was issued, nanoseconds.
    pub(super) step_ns: Option<i64>,
}

impl Tables {
    /// Ages of a session at `now_ns`, from its issue and from its creation time by the library.
    pub(super) fn ages(
        &self,
        server: &Server,
        issued: Option<&IssuedSession>,
        now_ns: u64,
    ) -> Ages {
        let state = self.state(server.service);
        let created_ns = found_creation_ns(server);
        let stepped = created_ns.and_then(|created_ns| state.clock.stepped_age(created_ns, now_ns));
        let issued_age_ns = issued.map(|issued| now_ns.saturating_sub(issued.at_ns));
        let host_age_ns = created_ns.and_then(|created_ns| self.host_age_ns(created_ns, now_ns));
        let skewed = host_age_ns.filter(|_| {
            state
                .skew_ns
                .is_some_and(|skew_ns| skew_ns.abs() > CLOCK_NS)
        });
        let observed_ns = issued_age_ns
            .or(stepped.map(|stepped| stepped.age_ns))
            .or_else(|| {
                skewed?;
                self.given_age_ns(server, created_ns?, now_ns)
            });
        let step_ns = issued.and_then(|issued| state.clock.step_since(issued.at_ns));
        let by_stepped_clock_ns = issued_age_ns
            .zip(step_ns)
            .and_then(|(age_ns, step_ns)| age_ns.checked_add_signed(step_ns));
        Ages {
            observed_ns,
            by_host_clock_ns: skewed,
            by_stepped_clock_ns,
            step_ns: stepped.map(|stepped| stepped.step_ns).or(step_ns),
        }
    }
}
