//! Starts all sensors and reads their loss counters and the kernel's program statistics.

use std::{fs, panic::resume_unwind, thread};

use aya::Ebpf;

use super::{
    canary::{BackgroundCanary, effect::Effect, kind::ProbeKind},
    cgroup_watch::CgroupWatch,
    error::SensorError,
    features,
    handshake::{self, HandshakeSensor},
    sensor_events::SensorEvents,
    tcp::{self, TcpSensor},
    tracepoint::Tracepoint,
    uprobe_multi::ProgramStats,
    wire::{self, WireSensor},
};
use crate::{
    errors::{chain, is_transient},
    host::ObservedCgroup,
    status::{BpfMode, Sensor, Status},
};

/// The sensors that started.
pub(crate) struct Sensors {
    /// Uprobes on TLS libraries.
    pub handshake: Option<HandshakeSensor>,
    /// TCP tracepoints.
    pub tcp: Option<TcpSensor>,
    /// First packets of TLS connections.
    pub wire: Option<WireSensor>,
    /// Reports of created and removed cgroups.
    pub cgroups: Option<CgroupWatch>,
    /// The network namespaces in their events are usable as keys: all sensors have them.
    pub namespaces: bool,
    /// Whether the handshake sensor failed for a reason that may pass by itself.
    pub may_start_later: bool,
}

impl Sensors {
    /// Loads and attaches every sensor; `status` receives the reason for each one that fails.
    /// They observe `cgroup` and what is below it, or the whole host without one.
    pub(crate) fn start(
        mode: BpfMode,
        status: &mut Status,
        cgroup: Option<&ObservedCgroup>,
    ) -> Self {
        status.mode = Some(mode);
        let canary = BackgroundCanary::start();
        let (handshake, tcp, wire) = thread::scope(|scope| {
            let wire = scope.spawn(|| WireSensor::start(mode, cgroup));
            let handshake = HandshakeSensor::start(mode, status, cgroup)
                .and_then(|sensor| reject_harmful(canary.effects()).map(|()| sensor));
            let tcp = TcpSensor::start(mode, status, cgroup);
            let wire = wire.join().unwrap_or_else(|panic| resume_unwind(panic));
            (handshake, tcp, wire)
        });
        wire::record_verdicts(&wire, status);
        let may_start_later = match &handshake {
            Ok(_) => false,
            Err(error) => is_transient(error) || features::were_interrupted(),
        };
        let cgroups = CgroupWatch::start_optional(mode, status);
        let handshake = record_health(Sensor::Handshake, handshake, status);
        let tcp = record_health(Sensor::Tcp, tcp, status);
        let wire = record_health(Sensor::Wire, wire, status);
        let namespaces =
            mode.namespaces.is_some() && wire.as_ref().is_none_or(|sensor| sensor.has_namespaces);
        let sensors = Self {
            handshake,
            tcp,
            wire,
            cgroups,
            namespaces,
            may_start_later,
        };
        for (name, stats) in sensors.program_stats() {
            if let Some(count) = stats.verified {
                status.verified.insert(name.to_owned(), count);
            }
        }
        sensors
    }

    /// Event streams of the running sensors.
    fn events(&mut self) -> impl Iterator<Item = (Sensor, &mut SensorEvents)> {
        let handshake = self.handshake.as_mut().map(|sensor| &mut sensor.events);
        let tcp = self.tcp.as_mut().map(|sensor| &mut sensor.events);
        let wire = self.wire.as_mut().map(|sensor| &mut sensor.events);
        let events = [
            (Sensor::Handshake, handshake),
            (Sensor::Tcp, tcp),
            (Sensor::Wire, wire),
        ];
        events
            .into_iter()
            .filter_map(|(sensor, events)| Some((sensor, events?)))
    }

    /// The kernel's statistics per program.
    fn program_stats(&self) -> impl Iterator<Item = (&str, ProgramStats)> {
        let objects = [
            self.handshake.as_ref().map(HandshakeSensor::object),
            self.tcp.as_ref().map(TcpSensor::object),
            self.wire.as_ref().map(WireSensor::object),
        ];
        let programs = objects.into_iter().flatten().flat_map(Ebpf::programs);
        let stats = programs.filter_map(|(name, program)| {
            let info = program.info().ok()?;
            let stats = ProgramStats {
                runs: info.run_count(),
                run_ns: info.run_time().as_nanos() as u64,
                verified: info.verified_instruction_count(),
            };
            Some((name, stats))
        });
        let multi = self.handshake.as_ref().map(HandshakeSensor::program_stats);
        let multi = multi.into_iter().flatten();
        stats.chain(multi.map(|(name, stats): (&str, ProgramStats)| (name, stats)))
    }

    /// Updates loss counters and program statistics in `status`. The reader adds the events that
    /// it cannot decode.
    pub(crate) fn update_status(&mut self, status: &mut Status) {
        let enabled = fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled");
        if enabled.is_ok_and(|value| value.trim() == "1") {
            for (name, stats) in self.program_stats() {
                let runs = (stats.runs, stats.run_ns);
                status.programs.insert(name.to_owned(), runs);
            }
        }
        if let Some(lost) = self.cgroups.as_mut().map(CgroupWatch::newly_lost)
            && lost > 0
        {
            tracing::debug!(lost, "created or removed cgroups not reported");
        }
        for (sensor, events) in self.events() {
            events.flush_log();
            status.sensor_mut(sensor).lost += events.newly_lost();
        }
    }
}

/// Every tracepoint that a sensor uses, once: that of two sensors with the one that requires it.
pub(crate) fn tracepoints() -> impl Iterator<Item = (Sensor, Tracepoint)> {
    let handshake = handshake::TRACEPOINTS.map(|tracepoint| (Sensor::Handshake, tracepoint));
    let is_listed = |event| {
        let mut listed = handshake::TRACEPOINTS.iter();
        listed.any(|tracepoint| tracepoint.event == event)
    };
    let tcp = tcp::PROBES.map(|(_, _, tracepoint)| (Sensor::Tcp, tracepoint));
    let tcp = tcp.into_iter();
    let tcp = tcp.filter(move |(_, tracepoint)| !is_listed(tracepoint.event));
    handshake.into_iter().chain(tcp)
}

/// Starts and stops all sensors, and returns the resulting status.
#[must_use]
pub(crate) fn dry_run(mode: BpfMode) -> Status {
    let mut status = Status::default();
    drop(Sensors::start(mode, &mut status, None));
    status
}

fn record_health<T>(
    sensor: Sensor,
    result: Result<T, SensorError>,
    status: &mut Status,
) -> Option<T> {
    let health = status.sensor_mut(sensor);
    match result {
        Ok(started) => {
            health.attached = true;
            Some(started)
        }
        Err(error) => {
            let reason = chain(&error);
            tracing::warn!(sensor = sensor.label(), reason, "sensor not available");
            health.reason = Some(reason);
            None
        }
    }
}

/// Fails if a kind of probe harmed the canary process. An inconclusive result does not fail,
/// because it shows nothing about the kernel.
fn reject_harmful(effects: Vec<(ProbeKind, Effect)>) -> Result<(), SensorError> {
    for (kind, effect) in effects {
        let probe = kind.describe();
        tracing::debug!(probe, %effect, "canary finished");
        match effect {
            Effect::Harmless => {}
            Effect::Inconclusive(reason) => {
                tracing::warn!(probe, reason, "canary inconclusive, probes attached anyway");
            }
            effect @ Effect::Harmful(_) => return Err(SensorError::Harmful { kind, effect }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::canary::effect::Harm;

    #[test]
    fn one_harmful_kind_of_probe_prevents_all_probes() {
        let mut effects = ProbeKind::USED
            .map(|kind| (kind, Effect::Harmless))
            .to_vec();
        assert!(reject_harmful(effects.clone()).is_ok());
        effects[0].1 = Effect::Inconclusive("no process was started".to_owned());
        assert!(reject_harmful(effects.clone()).is_ok());
        effects[1].1 = Effect::Harmful(Harm::Killed(9));
        let error = reject_harmful(effects).unwrap_err().to_string();
        assert_eq!(
            error,
            "a probe on a single-stepped instruction is harmful: the process was killed by SIGKILL; \
             no probe is attached to any process"
        );
    }
}
