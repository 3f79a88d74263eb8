//! From a handshake that has ended to its observation: joined with what TCP did on its connection, and with what passed on the wire.

use reprise_ebpf::handshake::{HIT_UNKNOWN, outcome, role, socket_source};

use super::{
    DOUBT_NS, Ended, Engine, MAX_DOUBTFUL, SETTLE_NS,
    cause::{self, Cause},
    history::Span,
    observation::{End, Observation, Resumption, Role, Version},
    offer::Offer,
    trouble::Trouble,
    wire::{self, Settled},
};
use crate::pipeline::{
    diagnose::Session,
    event::Connection,
    wire::{HelloEvent, end},
};

impl Engine {
    /// Takes what was forgotten until `end_ns`.
    pub(super) fn conclude_forgotten(&mut self, end_ns: u64) {
        while let Some(event) = self.forgotten.front()
            && event.header.time_ns <= end_ns
            && let Some(event) = self.forgotten.pop_front()
        {
            let (histories, losses) = (&self.histories, &self.losses);
            let met_loss = |connection: &Connection| {
                losses.met_loss(connection) || histories.met_loss(connection, event.header.time_ns)
            };
            if let Some(forgotten) = self.evidence.forget(&event, met_loss) {
                self.removed[forgotten.removal as usize] += 1;
                self.cut.extend(forgotten.cut);
            }
        }
    }

    pub(super) fn conclude_oldest(&mut self, out: &mut impl FnMut(Observation)) {
        let Some(event) = self.waiting.pop_front() else {
            return;
        };
        self.conclude_forgotten(event.header.time_ns);
        let role = match event.role {
            role::SERVER => Role::Server,
            role::CLIENT => Role::Client,
            _ => {
                self.unknown_role += 1;
                return;
            }
        };
        let Ok(hello) = self.wires.claim(role, &event) else {
            return;
        };
        self.conclude(Ended { event, role, hello }, false, out);
    }

    /// `patient`: whether it has waited for as long as any handshake does.
    pub(super) fn conclude(
        &mut self,
        ended: Ended,
        patient: bool,
        out: &mut impl FnMut(Observation),
    ) {
        let Ended { event, role, hello } = ended;
        let mut connection = Connection::of_handshake(&event);
        // Sure, where the library's own way to its socket is a guess or leads nowhere.
        if let Some(hello) = &hello
            && event.socket_source != socket_source::IN_CALL
        {
            connection = Connection::of(&hello.socket).or(connection);
        }
        let completed = event.outcome == outcome::COMPLETED;
        let on_wire = hello.map(|hello| hello.end);
        let span = Span {
            begin_ns: event.begin_ns,
            end_ns: event.header.time_ns,
            completed,
            until_ns: event.header.time_ns.saturating_add(if patient {
                DOUBT_NS
            } else {
                SETTLE_NS
            }),
        };
        let rtt_us = hello.map_or(0, |hello| hello.rtt_us);
        let late = u32::from(hello.is_some_and(|hello| cause::came_late(&event, &hello)));
        if !patient && !completed && self.doubtful.len() < MAX_DOUBTFUL {
            let mut trouble = self.histories.trouble(connection, &span);
            trouble.rtt_us = rtt_us;
            trouble.stalls = trouble.stalls.max(late);
            if cause::of(&event, &trouble, on_wire) == Cause::Timeout {
                self.doubtful.push_back(ended);
                return;
            }
        }
        let mut trouble = self.trouble(role, connection, &span);
        trouble.rtt_us = rtt_us;
        trouble.stalls = trouble.stalls.max(late);
        let resumed = event.hit == 1;
        let end = if completed {
            End::Completed(match event.hit {
                0 => Resumption::Full,
                1 => Resumption::Resumed,
                _ => Resumption::Unknown,
            })
        } else {
            End::Failed(cause::of(&event, &trouble, on_wire))
        };
        let known = completed && event.hit != HIT_UNKNOWN;
        let on_wire = hello.and_then(|hello| hello.resumed());
        let session = Session::of(&event, hello.as_ref());
        let seen = Observation {
            time_ns: event.header.time_ns,
            role,
            version: Version::from_wire(event.version),
            end,
            duration_ns: event.header.time_ns.saturating_sub(event.begin_ns),
            library_ns: event.library_ns,
            connection,
            trouble,
            reason: event.reason,
            tgid: event.tgid,
            offer: hello.map_or(Offer::Unknown, |hello| self.offer(&hello)),
            hello,
            conflict: known && on_wire.is_some_and(|on_wire| on_wire != resumed),
            wire: false,
            miss: None,
        };
        out(self.diagnosed(seen, &session));
    }

    fn offer(&self, hello: &HelloEvent) -> Offer {
        Offer::of(hello, |id| self.evidence.gave(id))
    }

    fn diagnosed(&mut self, seen: Observation, session: &Session) -> Observation {
        let miss = self.evidence.take(&seen, session);
        Observation { miss, ..seen }
    }

    /// Observes handshakes that ended on the wire and that no library has told of since.
    pub(super) fn conclude_wires(&mut self, now_ns: u64, out: &mut impl FnMut(Observation)) {
        while let Some(Settled(settled)) = self.wires.mature(now_ns) {
            let Some(hello) = settled else { continue };
            let Some(role) = wire::role_of(&hello) else {
                continue;
            };
            let connection = Connection::of(&hello.socket);
            let (begin_ns, end_ns) = (hello.begin_ns, hello.header.time_ns);
            let completed = hello.end == end::COMPLETED;
            let span = Span {
                begin_ns,
                end_ns,
                completed,
                until_ns: end_ns.saturating_add(DOUBT_NS),
            };
            let mut trouble = self.trouble(role, connection, &span);
            trouble.rtt_us = hello.rtt_us;
            let end = match (hello.end, hello.resumed()) {
                (end::COMPLETED, Some(resumed)) => End::Completed(Resumption::of(resumed)),
                // Not followed to the end: nobody can say how it went.
                (end::COMPLETED | end::UNKNOWN, _) => continue,
                _ => End::Failed(cause::of_wire(&hello, &trouble)),
            };
            let seen = Observation {
                time_ns: end_ns,
                role,
                version: Version::from_wire(u32::from(hello.version)),
                end,
                duration_ns: end_ns.saturating_sub(begin_ns),
                library_ns: 0,
                connection,
                trouble,
                reason: 0,
                tgid: 0,
                offer: self.offer(&hello),
                hello: Some(hello),
                conflict: false,
                wire: true,
                miss: None,
            };
            out(self.diagnosed(seen, &Session::default()));
        }
    }

    /// What happened on the connection of a handshake, which takes it away up to the handshake's end.
    fn trouble(&mut self, role: Role, connection: Option<Connection>, span: &Span) -> Trouble {
        let trouble = self.histories.trouble(connection, span);
        if let Some(connection) = connection {
            self.histories.claim(&connection, span.end_ns);
            let lossy = trouble.retransmits.any();
            self.losses
                .ended(role, &connection, span.end_ns, span.completed, lossy);
        }
        trouble
    }
}
