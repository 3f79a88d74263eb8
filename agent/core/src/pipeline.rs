//! Events to statistics: correlation, diagnosis, peer names and sums in one pure layer, used by
//! `run`, `watch` and `replay` alike.

pub mod advice;
pub mod changes;
pub mod clock;
pub mod correlate;
pub mod decode;
pub mod diagnose;
pub mod event;
pub mod listener;
pub mod peers;
pub mod reasons;
pub mod record;
pub mod sizing;
pub mod socket;
pub mod stats;
pub mod wire;
pub mod workload;

use enum_map::EnumMap;

use crate::{
    model::{Change, ChangeDetail, Removal, ServiceFacts, ServiceId},
    pipeline::{
        changes::Changes,
        clock::Clock,
        correlate::{Bounds, Engine, Finding, Tracked},
        event::Event,
        peers::Naming,
        record::Record,
        stats::{Limits, MissExample, PeerKey, Stats},
    },
};

/// The pipeline from records to statistics.
#[derive(Debug)]
pub struct Pipeline {
    engine: Engine,
    /// How peers are named; replaced when the peer file is read again.
    pub naming: Naming,
    /// Statistics so far.
    pub stats: Stats,
    /// The host's clock.
    pub clock: Clock,
    now_ns: u64,
}

impl Pipeline {
    /// An empty pipeline.
    #[must_use]
    pub fn new(limits: Limits, bounds: Bounds, naming: Naming) -> Self {
        Self {
            engine: Engine::new(bounds),
            naming,
            stats: Stats::new(limits),
            clock: Clock::default(),
            now_ns: 0,
        }
    }

    /// Adds one record.
    pub fn push(&mut self, record: &Record) {
        self.push_with(record, &mut |_, _, _| {});
    }

    /// Adds one record; `missed` receives each missed session that it completes, with the clock as
    /// of this record and the peer.
    pub fn push_with(
        &mut self,
        record: &Record,
        missed: &mut impl FnMut(&Clock, &PeerKey, &MissExample),
    ) {
        if self.now_ns == 0 {
            self.add_host_change(record.time_ns(), ChangeDetail::Agent);
        }
        self.now_ns = self.now_ns.max(record.time_ns());
        match record {
            Record::Clock(reading) => {
                if let Some(step_ns) = self.clock.record(reading) {
                    self.add_host_change(record.time_ns(), ChangeDetail::ClockStep { step_ns });
                }
            }
            Record::Workload(event) => self.stats.owners.assign(event),
            Record::Tcp(record) => {
                if let Some(closed) = event::tcp::closed(record) {
                    self.stats.lifetimes.closed(&closed);
                }
            }
            Record::Tick(time_ns) => self.stats.expire(*time_ns),
            _ => {}
        }
        let (stats, naming, clock) = (&mut self.stats, &self.naming, &self.clock);
        let mut missed = |peer: &PeerKey, miss: &MissExample| missed(clock, peer, miss);
        let mut out = |finding| count(stats, naming, finding, &mut missed);
        self.engine.push(Event::from(record), &mut out);
    }

    fn add_host_change(&mut self, time_ns: u64, detail: ChangeDetail) {
        self.engine.changes_mut().add(Change {
            time_ns,
            service: None,
            detail,
        });
    }

    /// What changed, and when.
    #[must_use]
    pub const fn changes(&self) -> &Changes {
        self.engine.changes()
    }

    /// Concludes everything that waits: the stream has ended.
    pub fn finish(&mut self) {
        self.finish_with(&mut |_, _, _| {});
    }

    /// Concludes everything that waits, as [`Self::push_with`] does for one record.
    pub fn finish_with(&mut self, missed: &mut impl FnMut(&Clock, &PeerKey, &MissExample)) {
        let (stats, naming, clock) = (&mut self.stats, &self.naming, &self.clock);
        let mut missed = |peer: &PeerKey, miss: &MissExample| missed(clock, peer, miss);
        let mut out = |finding| count(stats, naming, finding, &mut missed);
        self.engine.finish(&mut out);
    }

    /// Time of the newest record, nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Sessions removed from caches before their lifetime ended.
    #[must_use]
    pub const fn removed(&self) -> &EnumMap<Removal, u64> {
        self.engine.removed()
    }

    /// Facts about a service.
    #[must_use]
    pub fn service(&self, service: ServiceId) -> ServiceFacts {
        self.engine.service(service)
    }

    /// Services whose caches are analysed, without those that became part of another.
    #[must_use]
    pub fn services(&self) -> Vec<(ServiceId, &sizing::Service)> {
        let mut all = self.sizing().all();
        all.retain(|(id, _)| self.engine.is_whole(*id));
        all
    }

    /// One of [`Self::services`].
    #[must_use]
    pub fn analysed(&self, service: ServiceId) -> Option<&sizing::Service> {
        let known = self.sizing().get(service);
        known.filter(|_| self.engine.is_whole(service))
    }

    /// What the caches of the services need.
    #[must_use]
    pub const fn sizing(&self) -> &sizing::Services {
        self.engine.sizing()
    }

    /// The same, to add handshakes.
    pub const fn sizing_mut(&mut self) -> &mut sizing::Services {
        self.engine.sizing_mut()
    }

    /// Sizes of the engine's tables and their evictions.
    #[must_use]
    pub fn tracked(&self) -> Tracked {
        self.engine.tracked()
    }
}

fn count(
    stats: &mut Stats,
    naming: &Naming,
    finding: Finding,
    missed: &mut impl FnMut(&PeerKey, &MissExample),
) {
    match finding {
        Finding::Handshake(mut observation) => {
            let balancer = naming.resolve_client(&mut observation);
            let peer = stats.record(&observation, naming);
            if let Some(balancer) = balancer {
                stats.record_balancer(peer.clone(), balancer);
            }
            if let Some(miss) = MissExample::from_observation(&observation) {
                missed(&peer, &miss);
            }
        }
        Finding::Loss(loss) => stats.record_loss(&loss, naming),
        Finding::Alert(alert) => stats
            .alerts_after_completion
            .add(alert.role, alert.description),
        Finding::SessionCut(connection) => stats.record_cut_session(&connection, naming),
    }
}
