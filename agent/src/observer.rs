//! The observing loop: rings to pipeline, discovered libraries to probes, recordings on the way. Used by `run`, `watch` and
//! `record`.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter},
    path::PathBuf,
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use reprise_ebpf::tcp::TcpEvent;
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use zerocopy::IntoBytes as _;

use crate::{
    advice::advice,
    discover::{self, Found, Request},
    event::Event,
    hello::{self, HelloEvent, Tracker},
    host::{self, Lack, workloads::Lookups},
    observed::{Observed, Shared},
    pipeline::Pipeline,
    plan::{Hook, Plan},
    pods::Pods,
    reasons,
    record::Recorder,
    sensors::{SensorError, Sensors, means::Means, now_ns},
    stats::{Change, Topic},
    status::{self, MAX_LIBRARIES, Reason, Sensor, Status},
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
/// Alerts told in one line each, of those that begin and end within one sweep.
const MAX_TOLD: usize = 10;
/// How long the discovery thread may take to notice that all is over.
const JOIN: Duration = Duration::from_millis(300);
/// Names of error reasons kept; OpenSSL 3.5 has about 400.
const MAX_NAMES: usize = 4096;
/// Libraries that may wait to be attached.
const FOUND_QUEUE: usize = 16;

/// Why observation ended early.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// The host lacks something.
    #[error(transparent)]
    Lack(#[from] Lack),
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
    pub means: Means,
    /// Bounds of the `hello` sensor.
    pub hellos: hello::Limits,
    /// Pods of this node, as far as they are known.
    pub pods: Pods,
}

/// See the module.
pub struct Observer {
    shared: Shared,
    sensors: Sensors,
    hellos: Tracker,
    recorder: Option<Recorder<BufWriter<File>>>,
    requests: mpsc::Sender<Request>,
    found: tokio::sync::mpsc::Receiver<Found>,
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
    /// [`ObserveError::Lack`] where no handshake can be observed here.
    pub fn start(
        shared: Shared,
        recorder: Option<Recorder<BufWriter<File>>>,
        scope: &Scope,
    ) -> Result<Self, ObserveError> {
        let cgroup = scope.cgroup.as_deref();
        let sensors = Sensors::start(scope.means, &mut shared.lock().status, cgroup);
        if sensors.handshake.is_none() {
            let reason = shared
                .lock()
                .status
                .sensor(Sensor::Handshake)
                .reason
                .clone();
            return Err(Lack::Sensor(reason.unwrap_or_default()).into());
        }
        // Before the search begins, which is a thread with rights of its own.
        host::privilege::give_up_the_rest();
        host::confine::give_up_calls();
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
        let sweep = self.swept.elapsed() >= SWEEP;
        let mut observed = self.shared.lock();
        let Observed { pipeline, status } = &mut *observed;
        let recorder = &mut self.recorder;
        let requests = &self.requests;
        let mut failed = None;
        // What the wire told in raw form goes no further than this: only what was made of it is recorded.
        let mut hellos: Vec<HelloEvent> = Vec::new();
        let mut marks: Vec<TcpEvent> = Vec::new();
        if let Some(sensor) = &mut self.sensors.hello {
            let health = status.sensor_mut(Sensor::Hello);
            let tracker = &mut self.hellos;
            for _ in 0..BATCHES {
                let more = sensor.events.drain(until, |bytes| {
                    health.events += 1;
                    if let Ok(Event::Tcp(mark)) = Event::decode(bytes) {
                        marks.push(mark);
                    } else if let Err(error) = tracker.push(bytes, &mut |hello| hellos.push(hello))
                    {
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
        }
        for mark in marks {
            pass(&Event::Tcp(mark), pipeline, recorder, &mut failed);
        }
        for hello in hellos {
            pass(&Event::Hello(hello), pipeline, recorder, &mut failed);
        }
        if self.clocks_read.is_none_or(|read| read.elapsed() >= CLOCKS)
            && let Some(clock) = host::clock::read()
        {
            self.clocks_read = Some(Instant::now());
            pass(&Event::Clock(clock), pipeline, recorder, &mut failed);
        }
        let lookups = &mut self.lookups;
        let mut take = |sensor: Sensor, bytes: &[u8]| {
            let health = status.sensor_mut(sensor);
            health.events += 1;
            match Event::decode(bytes) {
                Ok(event) => {
                    let event = event.sealed();
                    if let Event::Exec(exec) = event {
                        lookups.forget(exec.tgid);
                        // The receiver lives as long as the thread; its end is seen elsewhere.
                        let _ = requests.send(Request::Exec(exec.tgid));
                    }
                    let workload = match &event {
                        Event::Handshake(handshake) => {
                            let name = lookups.of(handshake.tgid, &handshake.comm);
                            name.map(|name| WorkloadEvent::new(handshake.tgid, &name, now))
                        }
                        _ => None,
                    };
                    for event in workload.map(Event::Workload).into_iter().chain([event]) {
                        pass(&event, pipeline, recorder, &mut failed);
                    }
                }
                Err(error) => {
                    tracing::debug!(reason = %error, "event not understood");
                    health.lost += 1;
                }
            }
        };
        for _ in 0..BATCHES {
            let mut more = false;
            if let Some(sensor) = &mut self.sensors.tcp {
                more |= sensor.events.drain(until, |bytes| take(Sensor::Tcp, bytes));
            }
            if let Some(sensor) = &mut self.sensors.handshake {
                more |= sensor
                    .events
                    .drain(until, |bytes| take(Sensor::Handshake, bytes));
            }
            if !more {
                break;
            }
        }
        let mut open = None;
        if sweep && let Some(sensor) = &mut self.sensors.handshake {
            let mut lives = HashMap::new();
            open = Some(sensor.sweep(
                |tgid| *lives.entry(tgid).or_insert_with(|| host::lives(tgid)),
                |event| take(Sensor::Handshake, event.as_bytes()),
            ));
        }
        if let Some(open) = open {
            self.swept = Instant::now();
            status.open_handshakes = open;
            for line in self.log.due(&pipeline.stats.errors, &status.reasons, now) {
                say(&line);
            }
            self.sensors.account(status);
            tell_alerts(pipeline);
            // What was recorded survives a kill, but for the last second.
            if let Some(recorder) = recorder
                && let Err(error) = recorder.flush()
            {
                failed.get_or_insert(error);
            }
        }
        pipeline.push(&Event::Tick(now));
        if let Some(recorder) = recorder
            && let Err(error) = recorder.tick(now)
        {
            failed.get_or_insert(error);
        }
        failed.map_or(Ok(()), |error| Err(ObserveError::Record(error)))
    }

    fn found(&mut self, found: Found) -> Result<(), ObserveError> {
        let mut observed = self.shared.lock();
        let status = &mut observed.status;
        match found {
            Found::Scanned { processes, took } => {
                status.scanned = true;
                tracing::info!(
                    processes,
                    took_ms = took.as_millis(),
                    libraries = status.libraries.len(),
                    "first scan done"
                );
            }
            Found::Coverage(coverage) => status.coverage = coverage,
            Found::Gone(key) => {
                if let Some(at) = status
                    .libraries
                    .iter()
                    .position(|library| library.key == key)
                {
                    let library = status.libraries.remove(at);
                    tracing::info!(path = library.path, "library without users let go");
                }
                if let Some(sensor) = &mut self.sensors.handshake {
                    sensor.detach(key, status);
                }
            }
            Found::Library(library) => {
                let key = library.key;
                let planned = library.plan.is_ok();
                let (listed, refused) = attach(&mut self.sensors, *library, status);
                if planned {
                    // The receiver lives as long as the thread; its end is seen elsewhere.
                    let _ = self.requests.send(Request::Settled(key, refused));
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
        self.sensors.account(&mut observed.status);
        if let Some(recorder) = &mut self.recorder {
            recorder
                .status(&observed.status)
                .and_then(|()| recorder.flush())
                .map_err(ObserveError::Record)?;
        }
        Ok(())
    }
}

/// What fails a handshake is the log's concern only where it can be helped: who offers no session gets through.
fn say(line: &reasons::Line) {
    let reasons::Line {
        role,
        reason,
        failures,
        advice,
    } = line;
    let role = role.label();
    match advice {
        Some(advice) => tracing::warn!(
            role,
            reason,
            failures,
            advice,
            "handshakes fail because they try to resume"
        ),
        None => tracing::info!(role, reason, failures, "handshakes fail"),
    }
}

/// Hands an event to the pipeline and, as it is, to the recording; keeps the first error of that.
fn pass(
    event: &Event,
    pipeline: &mut Pipeline,
    recorder: &mut Option<Recorder<BufWriter<File>>>,
    failed: &mut Option<io::Error>,
) {
    pipeline.push(event);
    if let Some(recorder) = recorder
        && let Err(error) = recorder.event(event.bytes())
    {
        failed.get_or_insert(error);
    }
}

/// One line for each alert that began or ended.
fn tell_alerts(pipeline: &mut Pipeline) {
    let changes = pipeline.stats.peers.judge(pipeline.now_ns());
    let more = changes.len().saturating_sub(MAX_TOLD);
    for Change { key, before, after } in changes.into_iter().take(MAX_TOLD) {
        let (peer, role) = (&key.peer, key.role.label());
        match (before, after) {
            (_, Some(topic)) => {
                let sums = pipeline.stats.peers.get(&key);
                let advice = sums.and_then(|sums| advice(pipeline, &key, sums));
                let (reason, advice) = (topic.label(), advice.unwrap_or_default());
                tracing::warn!(%peer, role, reason, advice, "sessions are not resumed");
            }
            (before, None) => {
                let reason = before.map_or("", Topic::label);
                tracing::info!(%peer, role, reason, "sessions are resumed again, or no more offered");
            }
        }
    }
    if more > 0 {
        tracing::warn!(more, "further peers began or ceased to miss their sessions");
    }
}

/// Attaches a library, or says why not.
fn attach(
    sensors: &mut Sensors,
    found: discover::Library,
    status: &mut Status,
) -> (status::Library, Option<(Reason, String)>) {
    let mut listed = status::Library {
        key: found.key,
        library: found
            .path
            .trim_end_matches(" (deleted)")
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned(),
        version: "unknown".to_owned(),
        entry: "none".to_owned(),
        evidence: String::new(),
        path: found.path,
        build_id: None,
        observed: false,
    };
    let attached = found
        .plan
        .map_err(|finding| (Reason::UnsupportedBuild, finding));
    let attached = attached.and_then(|plan| {
        listed.version = plan.version.clone().unwrap_or("unknown".to_owned());
        listed.build_id.clone_from(&plan.build_id);
        for (number, name) in &plan.reasons {
            // Numbers keep their meaning from version to version; what was told first stays.
            let names = &mut status.reasons;
            if names.len() < MAX_NAMES {
                names.entry(*number).or_insert_with(|| name.clone());
            }
        }
        if let Some(field) = missing(&plan) {
            let finding =
                format!("the handshake was found, but not where the library keeps {field}");
            return Err((Reason::UnsupportedBuild, finding));
        }
        let Some(sensor) = &mut sensors.handshake else {
            return Err((
                Reason::AttachFailed,
                "the sensor is not attached".to_owned(),
            ));
        };
        let attached = sensor.attach(found.key, &plan, &found.ssl, found.crypto.as_ref(), status);
        attached.map(|()| (plan.hook, plan.basis)).map_err(|error| {
            let reason = match error {
                SensorError::TooMany(_) => Reason::TooManyLibraries,
                _ => Reason::AttachFailed,
            };
            (reason, crate::chain(&error))
        })
    });
    let path = &listed.path;
    match attached {
        Ok((hook, basis)) => {
            listed.observed = true;
            listed.entry = match hook {
                Hook::StateMachine => "state_machine",
                Hook::MethodTable => "method_table",
                Hook::DoHandshake => "do_handshake",
            }
            .to_owned();
            listed.evidence = basis.label().to_owned();
            let (version, entry) = (&listed.version, &listed.entry);
            tracing::info!(path, version, entry, "library observed");
            (listed, None)
        }
        Err((reason, finding)) => {
            tracing::warn!(path, reason = finding, "library not observed");
            listed.evidence.clone_from(&finding);
            (listed, Some((reason, finding)))
        }
    }
}

/// What is not known of a library, without which its handshakes would be counted wrongly rather than not at all. What else is
/// not known is counted as such.
fn missing(plan: &Plan) -> Option<&'static str> {
    let fields = &plan.fields;
    let phase = fields.state.and(fields.hand_state);
    let phase = phase.or(fields.legacy_state);
    let phase = phase.or(fields.handshake.and(fields.step));
    if phase.is_none() {
        return Some("how far a handshake is");
    }
    (fields.server.is_none() && !plan.role_in_argument).then_some("its role")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{self, Basis, Field, Fields};

    #[test]
    fn a_plan_needs_phase_and_role() {
        let at = Some(Field::direct(8));
        let plan = |fields: Fields, role_in_argument| Plan {
            version: None,
            build_id: None,
            machine: std::env::consts::ARCH,
            hook: Hook::StateMachine,
            role_in_argument,
            entries: Vec::new(),
            exits: Vec::new(),
            free: None,
            error: None,
            fields,
            session: plan::Session::default(),
            reasons: std::collections::BTreeMap::new(),
            basis: Basis::ExportedAccessors,
            evidence: Vec::new(),
        };
        let fields = Fields {
            state: at,
            hand_state: at,
            ..Fields::default()
        };
        assert_eq!(missing(&plan(fields, true)), None);
        assert_eq!(missing(&plan(fields, false)), Some("its role"));
        let server = Fields {
            server: at,
            ..Fields::default()
        };
        assert_eq!(
            missing(&plan(server, false)),
            Some("how far a handshake is")
        );
        let one = Fields {
            legacy_state: at,
            ..server
        };
        assert_eq!(missing(&plan(one, false)), None);
        let object = Fields {
            handshake: at,
            ..server
        };
        assert_eq!(
            missing(&plan(object, false)),
            Some("how far a handshake is")
        );
    }
}
