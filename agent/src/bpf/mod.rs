//! The only room that talks to aya and the kernel: loads the BPF objects, attaches them, reads their rings. Each sensor fails
//! alone and says so in [`Status`].

mod aside;
pub mod canary;
mod cgroup;
mod copies;
pub mod events;
pub mod features;
pub mod feed;
pub mod handshake;
pub mod means;
mod multi;
mod object;
mod probes;
pub mod tcp;
mod told;
pub mod tracefs;
pub mod tracepoint;
pub mod wire;

use std::{fs, io, panic::resume_unwind, path::Path, thread};

use aya::{
    Ebpf,
    maps::{MapError, perf::PerfBufferError},
    programs::{Program, ProgramError, RawTracePoint, TracePoint},
};
use nix::time::{ClockId, clock_gettime};
use thiserror::Error;

use self::{
    feed::Feed, handshake::HandshakeSensor, means::Means, multi::Account, tcp::TcpSensor,
    tracepoint::Tracepoint, wire::WireSensor,
};
use crate::{
    bpf::canary::{Ahead, Effect, Perch},
    status::{Sensor, Status, Verdict},
};

/// Why a sensor, or a part of one, does not work.
#[derive(Debug, Error)]
pub enum SensorError {
    /// The kernel refused the object.
    #[error("failed to load the BPF object")]
    Load(#[source] Box<aya::EbpfError>),
    /// The kernel refused a program or its attach point.
    #[error("failed to attach {probe}")]
    Attach {
        /// The program.
        probe: &'static str,
        /// Why.
        source: Box<ProgramError>,
    },
    /// The verifier refused a program; its log is written at debug level.
    #[error("the kernel's verifier refused {probe}")]
    Verifier {
        /// The program.
        probe: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A map could not be used.
    #[error("failed to use map {map}")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        source: Box<MapError>,
    },
    /// The buffers of the CPUs could not be opened.
    #[error("failed to open the buffers of {map}")]
    Buffers {
        /// The map.
        map: &'static str,
        /// Why.
        source: PerfBufferError,
    },
    /// The programs could not be linked with the maps.
    #[error("failed to link the BPF object")]
    Link(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kernel refused the points of a program in a file.
    #[error("failed to attach {probe}")]
    Place {
        /// The program.
        probe: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Copies of the programs could not be given the maps of the first.
    #[error("failed to share maps through a BPF file system")]
    Shelf(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What the programs say could not be listened to.
    #[error("failed to read the log of the programs")]
    Log(#[source] aya_log::Error),
    /// The object has no such program or map: it was built from other sources.
    #[error("the BPF object has no {0}")]
    Missing(&'static str),
    /// A tracepoint's description could not be read.
    #[error("failed to read the format of tracepoint {event}")]
    Format {
        /// `category/name`.
        event: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A tracepoint lacks a field that the program needs.
    #[error("tracepoint {event} has no field {field}")]
    Field {
        /// `category/name`.
        event: &'static str,
        /// The field.
        field: &'static str,
    },
    /// The root of the cgroup v2 hierarchy could not be opened.
    #[error("failed to open the root of the cgroup v2 hierarchy")]
    Cgroup(#[source] io::Error),
    /// A probe like its own did harm to a process of the agent's.
    #[error("a probe {perch} is {effect}; nothing is placed into any process")]
    Harmful {
        /// What the probe sat on.
        perch: &'static str,
        /// What it did.
        effect: Effect,
    },
    /// As many libraries as the programs can tell apart are attached.
    #[error("{0} libraries are attached already")]
    TooMany(u32),
}

/// The sensors that could be started.
pub struct Sensors {
    /// Uprobes on TLS libraries.
    pub handshake: Option<HandshakeSensor>,
    /// TCP tracepoints.
    pub tcp: Option<TcpSensor>,
    /// First flights on the wire.
    pub wire: Option<WireSensor>,
}

impl Sensors {
    /// Loads and attaches all that works here; `status` says what does not, and why.
    /// Packets are read of the sockets in `cgroup` and below, of all where there is none.
    pub fn start(means: Means, status: &mut Status, cgroup: Option<&Path>) -> Self {
        status.means = Some(means);
        let ahead = Ahead::send();
        let (handshake, tcp, wire) = thread::scope(|scope| {
            let wire = scope.spawn(|| WireSensor::start(means, cgroup));
            let handshake = HandshakeSensor::start(means, status)
                .and_then(|sensor| cleared(ahead.effects()).map(|()| sensor));
            let tcp = TcpSensor::start(means, status);
            let wire = wire.join().unwrap_or_else(|panic| resume_unwind(panic));
            (handshake, tcp, wire)
        });
        wire::note(&wire, status);
        let handshake = settle(Sensor::Handshake, handshake, status);
        let tcp = settle(Sensor::Tcp, tcp, status);
        let wire = settle(Sensor::Wire, wire, status);
        let sensors = Self {
            handshake,
            tcp,
            wire,
        };
        for (name, account) in sensors.accounts() {
            if let Some(count) = account.verified {
                status.verified.insert(name.to_owned(), count);
            }
        }
        sensors
    }

    /// What each of them hands on.
    fn feeds(&mut self) -> impl Iterator<Item = (Sensor, &mut Feed)> {
        let handshake = self.handshake.as_mut().map(|sensor| &mut sensor.feed);
        let tcp = self.tcp.as_mut().map(|sensor| &mut sensor.feed);
        let wire = self.wire.as_mut().map(|sensor| &mut sensor.feed);
        let feeds = [
            (Sensor::Handshake, handshake),
            (Sensor::Tcp, tcp),
            (Sensor::Wire, wire),
        ];
        feeds
            .into_iter()
            .filter_map(|(sensor, feed)| Some((sensor, feed?)))
    }

    /// What the kernel has accounted, by program.
    fn accounts(&self) -> impl Iterator<Item = (&str, Account)> {
        let objects = [
            self.handshake.as_ref().map(HandshakeSensor::object),
            self.tcp.as_ref().map(TcpSensor::object),
            self.wire.as_ref().map(WireSensor::object),
        ];
        let programs = objects.into_iter().flatten().flat_map(Ebpf::programs);
        let accounts = programs.filter_map(|(name, program)| {
            let info = program.info().ok()?;
            let account = Account {
                runs: info.run_count(),
                run_ns: info.run_time().as_nanos() as u64,
                verified: info.verified_instruction_count(),
            };
            Some((name, account))
        });
        let others = self.handshake.as_ref().map(HandshakeSensor::accounts);
        let others = others.into_iter().flatten();
        accounts.chain(others.map(|(name, account): (&str, Account)| (name, account)))
    }

    /// Brings loss counters and the kernel's accounting up to date. What user space did not understand is counted on top by its
    /// reader.
    pub fn account(&mut self, status: &mut Status) {
        let enabled = fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled");
        if enabled.is_ok_and(|value| value.trim() == "1") {
            for (name, account) in self.accounts() {
                let runs = (account.runs, account.run_ns);
                status.programs.insert(name.to_owned(), runs);
            }
        }
        for (sensor, feed) in self.feeds() {
            feed.pass_on();
            status.sensor_mut(sensor).lost += feed.newly_lost();
        }
    }
}

/// Every tracepoint that a sensor uses.
pub fn tracepoints() -> impl Iterator<Item = (Sensor, Tracepoint)> {
    let handshake = handshake::TRACEPOINTS.map(|tracepoint| (Sensor::Handshake, tracepoint));
    let tcp = tcp::PROBES.map(|(_, _, tracepoint)| (Sensor::Tcp, tracepoint));
    handshake.into_iter().chain(tcp)
}

/// Starts what works here and stops it at once: what became of it.
#[must_use]
pub fn rehearse(means: Means) -> Status {
    let mut status = Status::default();
    drop(Sensors::start(means, &mut status, None));
    status
}

fn settle<T>(sensor: Sensor, result: Result<T, SensorError>, status: &mut Status) -> Option<T> {
    let health = status.sensor_mut(sensor);
    match result {
        Ok(started) => {
            health.attached = true;
            Some(started)
        }
        Err(error) => {
            let reason = crate::chain(&error);
            tracing::warn!(sensor = sensor.label(), reason, "sensor not available");
            health.reason = Some(reason);
            None
        }
    }
}

/// Refuses where the canary met harm. What could not be told is no reason to refuse: it says nothing about the kernel.
fn cleared(effects: Vec<(Perch, Effect)>) -> Result<(), SensorError> {
    for (perch, effect) in effects {
        let perch = perch.describe();
        tracing::debug!(probe = perch, %effect, "canary came back");
        match effect {
            Effect::Harmless => {}
            Effect::Untold(reason) => {
                tracing::warn!(probe = perch, reason, "harm of probes not known");
            }
            effect @ Effect::Harmful(_) => return Err(SensorError::Harmful { perch, effect }),
        }
    }
    Ok(())
}

/// `CLOCK_MONOTONIC`, nanoseconds: the clock of the programs' time stamps.
#[must_use]
pub fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
    })
}

fn attach_tracepoint(
    ebpf: &mut Ebpf,
    probe: &'static str,
    event: &str,
    status: &mut Status,
) -> Result<(), SensorError> {
    let (category, name) = event.split_once('/').unwrap_or_default();
    let result = program::<&mut TracePoint>(ebpf, probe).and_then(|program| {
        program
            .load()
            .and_then(|()| program.attach(category, name))
            .map_err(|source| refused(probe, source))
    });
    judged(probe, result.map(drop), status)
}

/// The same for a program that takes the arguments of the event itself, not its record.
fn attach_raw(
    ebpf: &mut Ebpf,
    probe: &'static str,
    event: &str,
    status: &mut Status,
) -> Result<(), SensorError> {
    let (_, name) = event.split_once('/').unwrap_or_default();
    let result = program::<&mut RawTracePoint>(ebpf, probe).and_then(|program| {
        program
            .load()
            .and_then(|()| program.attach(name))
            .map_err(|source| refused(probe, source))
    });
    judged(probe, result.map(drop), status)
}

fn judged(
    probe: &'static str,
    result: Result<(), SensorError>,
    status: &mut Status,
) -> Result<(), SensorError> {
    let verdict = match result {
        Ok(()) => Verdict::Attached,
        Err(_) => Verdict::Broken,
    };
    status.probe(probe, verdict);
    result
}

fn refused(probe: &'static str, source: ProgramError) -> SensorError {
    match source {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            tracing::debug!(probe, %verifier_log, "program refused");
            SensorError::Verifier {
                probe,
                source: io_error,
            }
        }
        source => SensorError::Attach {
            probe,
            source: Box::new(source),
        },
    }
}

fn program<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<T, SensorError>
where
    T: TryFrom<&'a mut Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(SensorError::Missing(name))
}

fn take_map<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, SensorError>
where
    T: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(SensorError::Missing(name))?;
    T::try_from(map).map_err(|source| SensorError::Map {
        map: name,
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::canary::Harm;

    #[test]
    fn harm_of_one_kind_of_probe_refuses_all() {
        let mut effects = Perch::PLAIN.map(|perch| (perch, Effect::Harmless)).to_vec();
        assert!(cleared(effects.clone()).is_ok());
        effects[0].1 = Effect::Untold("no process was started".to_owned());
        assert!(cleared(effects.clone()).is_ok());
        effects[1].1 = Effect::Harmful(Harm::Killed(9));
        let refused = cleared(effects).unwrap_err().to_string();
        assert_eq!(
            refused,
            "a probe on a single-stepped instruction is harmful: the process was killed by SIGKILL; \
             nothing is placed into any process"
        );
    }
}
