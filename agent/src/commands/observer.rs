//! The observing loop: rings to pipeline, discovered libraries to probes, recordings on the way. Used by `run`, `watch` and
//! `record`.

mod libraries;
mod sink;
mod tell;

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use zerocopy::IntoBytes as _;

use self::sink::Sink;
use crate::{
    bpf::{Sensors, WireSensor, now_ns},
    host::{
        self, MissingRequirement,
        discover::{self, DiscoveryEvent, Request},
        pods::Pods,
        workloads::Lookups,
    },
    observed::{Observed, Shared},
    record::FileRecorder,
    status::{BpfMode, MAX_LIBRARIES, Sensor, Status},
};
use reprise_core::pipeline::{
    reasons,
    record::Record,
    wire::{self, Tracker, WireRecord},
    workload::WorkloadEvent,
};

/// How often the rings are read.
const POLL: Duration = Duration::from_millis(25);
/// Batches read before others have their turn.
const BATCHES: usize = 4;
/// How often open handshakes are checked for processes that died, and loss counters are read.
const SWEEP: Duration = Duration::from_secs(1);
/// How often the clocks are read.
const CLOCKS: Duration = Duration::from_secs(10);
/// How long the discovery thread may take to notice that all is over.
const JOIN: Duration = Duration::from_millis(300);
/// Libraries that may wait to be attached.
const FOUND_QUEUE: usize = 16;

/// Why observation ended early.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// The host lacks something.
    #[error(transparent)]
    Missing(#[from] MissingRequirement),
    /// No thread could be started.
    #[error("failed to start the discovery thread")]
    Thread(#[source] io::Error),
    /// The recording could not be continued.
    #[error("failed to write the recording")]
    Record(#[source] io::Error),
}

/// What of the host is observed, and how much is kept of what is not complete.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Library files below these paths are left alone.
    pub ignored: Vec<PathBuf>,
    /// Packets are read of sockets in this cgroup and those below it; of all where there is none.
    pub cgroup: Option<PathBuf>,
    /// How the programs are loaded.
    pub mode: BpfMode,
    /// Bounds of the `hello` sensor.
    pub hellos: wire::Limits,
    /// Pods of this node, as far as they are known.
    pub pods: Pods,
}

/// See the module.
pub struct Observer {
    shared: Shared,
    sensors: Sensors,
    hellos: Tracker,
    recorder: Option<FileRecorder>,
    requests: mpsc::Sender<Request>,
    found: tokio::sync::mpsc::Receiver<DiscoveryEvent>,
    discovery: JoinHandle<()>,
    swept: Instant,
    log: reasons::Log,
    clocks_read: Option<Instant>,
    lookups: Lookups,
}

impl Observer {
    /// Starts the sensors and the search for libraries. Gives up all rights that going on does not
    /// take.
    ///
    /// # Errors
    ///
    /// [`ObserveError::Missing`] where no handshake can be observed here.
    pub fn start(
        shared: Shared,
        recorder: Option<FileRecorder>,
        scope: &Scope,
    ) -> Result<Self, ObserveError> {
        let cgroup = scope.cgroup.as_deref();
        let sensors = Sensors::start(scope.mode, &mut shared.lock().status, cgroup);
        if sensors.handshake.is_none() {
            let reason = shared
                .lock()
                .status
                .sensor(Sensor::Handshake)
                .reason
                .clone();
            return Err(MissingRequirement::Sensor(reason.unwrap_or_default()).into());
        }
        // Before the search begins, which is a thread with rights of its own.
        host::privilege::drop_capabilities();
        host::confine::install_filter();
        let (requests, asked) = mpsc::channel();
        let (finds, found) = tokio::sync::mpsc::channel(FOUND_QUEUE);
        let discovery =
            discover::spawn(asked, finds, scope.ignored.clone()).map_err(ObserveError::Thread)?;
        Ok(Self {
            shared,
            sensors,
            hellos: Tracker::new(scope.hellos),
            recorder,
            requests,
            found,
            discovery,
            swept: Instant::now(),
            log: reasons::Log::default(),
            clocks_read: None,
            lookups: Lookups::new(scope.pods.clone()),
        })
    }

    /// Observes until `shutdown`, then detaches everything.
    ///
    /// # Errors
    ///
    /// [`ObserveError::Record`] where the recording cannot be continued.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), ObserveError> {
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let result = loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break self.poll(true),
                _ = poll.tick() => if let Err(error) = self.poll(false) { break Err(error) },
                Some(found) = self.found.recv() => if let Err(error) = self.found(found) { break Err(error) },
            }
        };
        let result = result.and(self.conclude());
        let Self {
            sensors,
            requests,
            found,
            discovery,
            ..
        } = self;
        drop((requests, found));
        drop(sensors);
        let deadline = Instant::now() + JOIN;
        while !discovery.is_finished() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !discovery.is_finished() {
            tracing::warn!("discovery is stuck in a slow file; leaving it behind");
        }
        result
    }

    /// Reads what has come; at the `last` time, what would have waited for its turn too.
    fn poll(&mut self, last: bool) -> Result<(), ObserveError> {
        // Taken before reading: whatever happened earlier has come by now.
        let now = now_ns();
        let until = if last { u64::MAX } else { now };
        let mut observed = self.shared.lock();
        let Observed { pipeline, status } = &mut *observed;
        let mut sink = Sink::new(pipeline, &mut self.recorder);
        if let Some(sensor) = &mut self.sensors.wire {
            read_wire(sensor, &mut self.hellos, until, now, status, &mut sink);
        }
        if self.clocks_read.is_none_or(|read| read.elapsed() >= CLOCKS)
            && let Some(clock) = host::clock::read()
        {
            self.clocks_read = Some(Instant::now());
            sink.pass(&Record::Clock(clock));
        }
        let sweep = self.swept.elapsed() >= SWEEP;
        let mut reader = Reader {
            now,
            lookups: &mut self.lookups,
            requests: &self.requests,
            status,
            sink: &mut sink,
        };
        reader.read(&mut self.sensors, until);
        if sweep {
            self.swept = Instant::now();
            reader.sweep(&mut self.sensors);
            for line in self
                .log
                .due(&sink.pipeline.stats.errors, &status.reasons, now)
            {
                tell::failures(&line);
            }
            self.sensors.update_status(status);
            tell::alerts(sink.pipeline);
            // What was recorded survives a kill, but for the last second.
            sink.record(FileRecorder::flush);
        }
        sink.pipeline.push(&Record::Tick(now));
        sink.record(|recording| recording.tick(now));
        sink.end().map_err(ObserveError::Record)
    }

    fn found(&mut self, found: DiscoveryEvent) -> Result<(), ObserveError> {
        let mut observed = self.shared.lock();
        let status = &mut observed.status;
        match found {
            DiscoveryEvent::Scanned {
                processes,
                duration,
            } => {
                status.scanned = true;
                tracing::info!(
                    processes,
                    took_ms = duration.as_millis(),
                    libraries = status.libraries.len(),
                    "first scan done"
                );
            }
            DiscoveryEvent::Coverage(coverage) => status.coverage = coverage,
            DiscoveryEvent::Unused(id) => {
                if let Some(at) = status.libraries.iter().position(|library| library.id == id) {
                    let library = status.libraries.remove(at);
                    tracing::info!(path = library.path, "library without users let go");
                }
                if let Some(sensor) = &mut self.sensors.handshake {
                    sensor.detach(id, status);
                }
            }
            DiscoveryEvent::Library(library) => {
                let id = library.id;
                let planned = library.plan.is_ok();
                let (listed, refused) = libraries::attach(&mut self.sensors, *library, status);
                if planned {
                    // The receiver lives as long as the thread; its end is seen elsewhere.
                    let _ = self.requests.send(Request::Attached(id, refused));
                }
                if status.libraries.len() < MAX_LIBRARIES {
                    status.libraries.push(listed);
                }
                if let Some(recorder) = &mut self.recorder {
                    recorder.status(status).map_err(ObserveError::Record)?;
                }
            }
        }
        Ok(())
    }

    fn conclude(&mut self) -> Result<(), ObserveError> {
        let mut observed = self.shared.lock();
        observed.pipeline.finish();
        self.sensors.update_status(&mut observed.status);
        if let Some(recorder) = &mut self.recorder {
            recorder
                .status(&observed.status)
                .and_then(|()| recorder.flush())
                .map_err(ObserveError::Record)?;
        }
        Ok(())
    }
}

/// Reads the first flights. What the wire told in raw form goes no further than this: only what was made of it is recorded.
fn read_wire(
    sensor: &mut WireSensor,
    tracker: &mut Tracker,
    until: u64,
    now: u64,
    status: &mut Status,
    sink: &mut Sink<'_>,
) {
    let health = status.sensor_mut(Sensor::Wire);
    let mut hellos: Vec<WireRecord> = Vec::new();
    for _ in 0..BATCHES {
        let more = sensor.events.events.drain(until, |bytes| {
            health.events += 1;
            if let Ok(mark @ Record::Tcp(_)) = Record::decode(bytes) {
                sink.pass(&mark);
            } else if let Err(error) = tracker.push(bytes, &mut |hello| hellos.push(hello)) {
                tracing::debug!(reason = %error, "segment not understood");
                health.lost += 1;
            }
        });
        if !more {
            break;
        }
    }
    tracker.expire(now, &mut |hello| hellos.push(hello));
    status.first_flights = tracker.len() as u64;
    status.evicted_flights = tracker.evicted();
    for hello in hellos {
        sink.pass(&Record::Wire(hello));
    }
}

/// Takes events of the other sensors, one by one.
struct Reader<'a, 'sink> {
    now: u64,
    lookups: &'a mut Lookups,
    requests: &'a mpsc::Sender<Request>,
    status: &'a mut Status,
    sink: &'a mut Sink<'sink>,
}

impl Reader<'_, '_> {
    /// Reads what has come until then.
    fn read(&mut self, sensors: &mut Sensors, until: u64) {
        for _ in 0..BATCHES {
            let mut more = false;
            if let Some(sensor) = &mut sensors.tcp {
                more |= sensor
                    .events
                    .events
                    .drain(until, |bytes| self.take(Sensor::Tcp, bytes));
            }
            if let Some(sensor) = &mut sensors.handshake {
                more |= sensor
                    .events
                    .events
                    .drain(until, |bytes| self.take(Sensor::Handshake, bytes));
            }
            if !more {
                break;
            }
        }
    }

    /// Ends the open handshakes of processes that died.
    fn sweep(&mut self, sensors: &mut Sensors) {
        let Some(sensor) = &mut sensors.handshake else {
            return;
        };
        let mut lives = HashMap::new();
        self.status.open_handshakes = sensor.sweep(
            |tgid| *lives.entry(tgid).or_insert_with(|| host::is_alive(tgid)),
            |event| self.take(Sensor::Handshake, event.as_bytes()),
        );
    }

    fn take(&mut self, sensor: Sensor, bytes: &[u8]) {
        let health = self.status.sensor_mut(sensor);
        health.events += 1;
        let event = match Record::decode(bytes) {
            Ok(event) => event.sealed(),
            Err(error) => {
                tracing::debug!(reason = %error, "event not understood");
                health.lost += 1;
                return;
            }
        };
        match &event {
            Record::Exec(exec) => {
                self.lookups.invalidate(exec.tgid);
                // The receiver lives as long as the thread; its end is seen elsewhere.
                let _ = self.requests.send(Request::Exec(exec.tgid));
            }
            Record::Handshake(handshake) => {
                let name = self.lookups.look_up(handshake.tgid, &handshake.comm);
                if let Some(name) = name {
                    let workload = WorkloadEvent::new(handshake.tgid, &name, self.now);
                    self.sink.pass(&Record::Workload(workload));
                }
            }
            _ => {}
        }
        self.sink.pass(&event);
    }
}
