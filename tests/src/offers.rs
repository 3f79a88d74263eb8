//! Holds the agent to what clients say of the sessions that they offered.

use crate::client::Report;
use crate::servers::Sessions;
use crate::truth::Expected;

/// Completed handshakes that offered a session.
pub const OFFERS: &str = "reprise_resumption_offers_total";
/// Completed handshakes that offered none.
pub const NOT_OFFERED: &str = "reprise_resumption_not_offered_total";
/// Disagreements of wire and library.
pub const CONFLICTS: &str = "reprise_evidence_conflicts_total";

/// The mechanism that clients of such a server use.
const fn mechanism(sessions: Sessions) -> &'static str {
    match sessions {
        Sessions::Ids => "session_id",
        Sessions::Tickets => "psk",
        Sessions::OldTickets => "ticket",
    }
}

/// Demands for both roles what a client says of its offers, and no disagreement.
pub fn expect_offers(
    expected: &mut Expected,
    sessions: Sessions,
    accepted: u32,
    missed: u32,
    none: u32,
) {
    for role in ["server", "client"] {
        for (outcome, count) in [("accepted", accepted), ("missed", missed)] {
            let labels = [
                ("role", role),
                ("mechanism", mechanism(sessions)),
                ("outcome", outcome),
            ];
            expected.add(OFFERS, &labels, count);
        }
        expected.add(OFFERS, &[("role", role)], accepted + missed);
        expected.add(NOT_OFFERED, &[("role", role)], none);
    }
    expected.add(CONFLICTS, &[], 0);
}

/// Demands for both roles what a client's report says of its offers.
pub fn expect_report(expected: &mut Expected, sessions: Sessions, report: &Report) {
    let accepted = report.total(|row| row.resumed);
    let offered = report.total(|row| row.offered);
    let completed = report.total(|row| row.full + row.resumed);
    expect_offers(
        expected,
        sessions,
        accepted,
        offered - accepted,
        completed - offered,
    );
}
