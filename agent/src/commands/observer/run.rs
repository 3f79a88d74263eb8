//! The observing loop.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    discovery::Discovery, error::ObserveError, libraries, listeners::ListenerTracker, log,
    peer_evictions::PeerEvictions, reader::Reader, scope::Scope, sink::Sink,
};
use crate::{
    bpf::{Sensors, now_ns},
    host::{
        self, DescriptorLimit, HostProcesses, MissingRequirement,
        cgroups::Cgroups,
        discover::{DiscoveryEvent, DiscoveryLimits},
        workloads::Lookups,
    },
    observed::{Observed, Shared},
    record::FileRecorder,
    status::Sensor,
};
use reprise_core::pipeline::{reasons::FailureLog, record::Record, wire::Tracker};

/// Interval at which the event buffers are read.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// Interval at which handshakes of ended processes, loss counters and alerts are checked.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which the clocks are read.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// The observer of this host.
pub(in crate::commands) struct Observer {
    shared: Shared,
    sensors: Sensors,
    tracker: Tracker,
    recorder: Option<FileRecorder>,
    discovery: Discovery,
    last_sweep: Instant,
    /// Changes that the log contains.
    changes_logged: u64,
    peer_evictions: PeerEvictions,
    failures: FailureLog,
    clock_read: Option<Instant>,
    processes: HostProcesses,
    lookups: Lookups,
    listeners: ListenerTracker,
}

impl Observer {
    /// Starts the sensors and the discovery of libraries, and drops all privileges that are not
    /// required afterwards.
    ///
    /// # Errors
    ///
    /// [`ObserveError::Missing`] if no handshake can be observed on this host,
    /// [`ObserveError::Sensor`] if that may pass by itself.
    pub(in crate::commands) fn start(
        shared: Shared,
        recorder: Option<FileRecorder>,
        scope: &Scope,
    ) -> Result<Self, ObserveError> {
        let cgroup = scope.cgroup.as_ref();
        let sensors = Sensors::start(scope.mode, &mut shared.lock().status, cgroup);
        if sensors.handshake.is_none() {
            let observed = shared.lock();
            let reason = observed.status.sensor(Sensor::Handshake).reason.clone();
            let reason = reason.unwrap_or_default();
            return Err(match sensors.may_start_later {
                true => ObserveError::Sensor(reason),
                false => MissingRequirement::Sensor(reason).into(),
            });
        }
        let mut cgroups = Cgroups::open();
        cgroups.read(sensors.cgroups.is_some(), Instant::now());
        let has_ids = scope.mode.owners.task_cgroup != 0;
        shared.lock().status.owner_lookup = Some(cgroups.lookup(has_ids));
        // Before the discovery thread starts, because capabilities belong to a thread.
        host::privilege::drop_capabilities();
        host::confine::install_filter();
        let places = libraries::places(DescriptorLimit::raise(), scope.mode.cookie_source);
        let limits = DiscoveryLimits {
            ignored: scope.ignored.clone(),
            excluded: scope.excluded.clone(),
            cgroup: scope.cgroup.clone(),
            places,
        };
        let discovery = Discovery::start(limits).map_err(ObserveError::Thread)?;
        let processes = HostProcesses::detect();
        let listeners = ListenerTracker::start(sensors.namespaces, processes);
        let listeners = listeners.map_err(ObserveError::Thread)?;
        Ok(Self {
            shared,
            sensors,
            tracker: Tracker::new(scope.first_flights),
            recorder,
            discovery,
            last_sweep: Instant::now(),
            changes_logged: 0,
            peer_evictions: PeerEvictions::default(),
            failures: FailureLog::default(),
            clock_read: None,
            processes,
            lookups: Lookups::new(scope.pods.clone(), processes, cgroups),
            listeners,
        })
    }

    /// Observes until `shutdown`, then detaches all probes.
    ///
    /// # Errors
    ///
    /// [`ObserveError::Record`] if the recording cannot be continued.
    pub(in crate::commands) async fn run(
        mut self,
        shutdown: CancellationToken,
    ) -> Result<(), ObserveError> {
        let mut result = self.observe(&shutdown).await;
        if result.is_err()
            && let Some(recorder) = self.recorder.take()
        {
            recorder.abandon();
        }
        result = result.and(self.conclude());
        let Self {
            sensors, discovery, ..
        } = self;
        drop(sensors);
        discovery.stop().await;
        result.map_err(ObserveError::Record)
    }

    async fn observe(&mut self, shutdown: &CancellationToken) -> io::Result<()> {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.poll(true),
                _ = ticks.tick() => self.poll(false)?,
                Some(event) = self.discovery.next() => self.discovered(event)?,
            }
        }
    }

    /// Reads the events up to now; the `last` time, all events.
    fn poll(&mut self, last: bool) -> io::Result<()> {
        let listeners_found = self.listeners.result();
        // The time is read first: earlier events are in the buffers by now.
        let now_ns = now_ns();
        let until_ns = if last { u64::MAX } else { now_ns };
        let mut observed = self.shared.lock();
        let Observed { pipeline, status } = &mut *observed;
        let mut sink = Sink::new(pipeline, &mut self.recorder);
        if is_due(self.clock_read, CLOCK_INTERVAL)
            && let Some(clock) = host::clock::read()
        {
            self.clock_read = Some(Instant::now());
            sink.add(&Record::Clock(clock));
        }
        let mut reader = Reader {
            now_ns,
            processes: self.processes,
            namespaces: self.sensors.namespaces,
            lookups: &mut self.lookups,
            listeners: &mut self.listeners,
            requests: &self.discovery.requests,
            status,
            sink: &mut sink,
            ended: Vec::new(),
        };
        if let Some(sensor) = &mut self.sensors.wire {
            reader.read_wire(sensor, &mut self.tracker, until_ns);
        }
        reader.read(&mut self.sensors, until_ns);
        reader.update_listeners(listeners_found, &self.sensors);
        if is_due(Some(self.last_sweep), SWEEP_INTERVAL) {
            self.last_sweep = Instant::now();
            reader.sweep(&mut self.sensors);
            let errors = &sink.pipeline.stats.errors;
            for entry in self.failures.due(errors, &status.reasons, now_ns) {
                log::failures(&entry);
            }
            self.sensors.update_status(status);
            log::alerts(sink.pipeline);
            log::changes(sink.pipeline, &mut self.changes_logged);
            log::peer_evictions(sink.pipeline, &mut self.peer_evictions);
            // If the agent is killed, the recording misses the last second only.
            sink.with_recording(FileRecorder::flush);
        }
        sink.pipeline.push(&Record::Tick(now_ns));
        sink.with_recording(|recording| recording.tick(now_ns));
        sink.finish()
    }

    fn discovered(&mut self, event: DiscoveryEvent) -> io::Result<()> {
        let status = &mut self.shared.lock().status;
        let changed = self.discovery.apply(event, &mut self.sensors, status);
        if changed && let Some(recorder) = &mut self.recorder {
            recorder.status(status)?;
        }
        Ok(())
    }

    /// Concludes all handshakes and completes the recording.
    fn conclude(&mut self) -> io::Result<()> {
        let mut observed = self.shared.lock();
        observed.pipeline.finish();
        self.sensors.update_status(&mut observed.status);
        if let Some(recorder) = &mut self.recorder {
            recorder.status(&observed.status)?;
            recorder.flush()?;
        }
        Ok(())
    }
}

fn is_due(last: Option<Instant>, interval: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= interval)
}
