//! Expectations about sessions that clients offered, from the clients' reports.

use crate::client::Report;
use crate::servers::Sessions;
use crate::truth::Expected;

/// Counter of completed handshakes that offered a session.
pub const OFFERS: &str = "reprise_resumption_offers_total";
/// Counter of completed handshakes that offered none.
pub const NOT_OFFERED: &str = "reprise_resumption_not_offered_total";
/// Counter of disagreements between packets and library.
pub const CONFLICTS: &str = "reprise_evidence_conflicts_total";

/// Returns the mechanism of clients of such a server.
const fn mechanism(sessions: Sessions) -> &'static str {
    match sessions {
        Sessions::Ids => "session_id",
        Sessions::Tickets | Sessions::StatefulTickets => "psk",
        Sessions::OldTickets => "ticket",
    }
}

/// Expects these offers for both roles and no disagreement.
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

/// Expects the offers of a client's report for both roles.
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
