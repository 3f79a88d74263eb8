//! What a completed handshake shows about changes of its service.

use super::tables::{Server, Tables};
use crate::model::{Change, ChangeDetail, HelloFacts, Observation, Offer, Outcome, Resumption};

impl Tables {
    /// Records a completed handshake of a server, after everything else was learned from it.
    pub(super) fn record_changes(
        &mut self,
        seen: &Observation,
        hello: &HelloFacts,
        server: &Server,
    ) {
        let service = self.services.root(server.service);
        let replacement = server.process.and_then(|process| {
            let processes = &self.processes;
            self.generations
                .observe(service, process, hello.begin_ns, processes)
        });
        if let Some(replacement) = replacement {
            self.changes.add(Change {
                time_ns: replacement.time_ns,
                service: Some(service),
                detail: ChangeDetail::ServiceReplaced {
                    tgid: replacement.tgid,
                },
            });
        }
        if let (Offer::Session(_), Outcome::Completed(resumption)) = (seen.offer, seen.outcome)
            && resumption != Resumption::Unknown
        {
            let accepted = resumption == Resumption::Resumed;
            self.changes.record_offer(service, seen.time_ns, accepted);
        }
    }
}
