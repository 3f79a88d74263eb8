//! Looks up programs and maps of a loaded object and attaches tracepoint programs.

use aya::{
    Ebpf,
    maps::{Map, MapError},
    programs::{Program, ProgramError, RawTracePoint, TracePoint},
};

use super::{error::SensorError, load_retry::retry_interrupted};
use crate::status::{Status, Verdict};

/// Loads and attaches a program that reads the record of a tracepoint, `category/name`.
pub(super) fn attach_tracepoint(
    ebpf: &mut Ebpf,
    probe: &'static str,
    event: &str,
    status: &mut Status,
) -> Result<(), SensorError> {
    let (category, name) = event.split_once('/').unwrap_or_default();
    let result = program::<&mut TracePoint>(ebpf, probe).and_then(|program| {
        retry_interrupted(|| program.load())
            .and_then(|()| program.attach(category, name))
            .map_err(|source| program_error(probe, source))
    });
    record_verdict(probe, result.map(drop), status)
}

/// Loads and attaches a program that reads the arguments of a tracepoint instead of its record.
pub(super) fn attach_raw_tracepoint(
    ebpf: &mut Ebpf,
    probe: &'static str,
    event: &str,
    status: &mut Status,
) -> Result<(), SensorError> {
    let (_, name) = event.split_once('/').unwrap_or_default();
    let result = program::<&mut RawTracePoint>(ebpf, probe).and_then(|program| {
        retry_interrupted(|| program.load())
            .and_then(|()| program.attach(name))
            .map_err(|source| program_error(probe, source))
    });
    record_verdict(probe, result.map(drop), status)
}

fn record_verdict(
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

/// Converts aya's error; a verifier log goes to the debug log because it can be very long.
pub(super) fn program_error(probe: &'static str, source: ProgramError) -> SensorError {
    match source {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            tracing::debug!(probe, %verifier_log, "program not loaded");
            SensorError::from_load(probe, io_error)
        }
        source => SensorError::Attach {
            probe,
            source: Box::new(source),
        },
    }
}

/// The program of this name and type.
pub(super) fn program<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<T, SensorError>
where
    T: TryFrom<&'a mut Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(SensorError::Missing(name))
}

/// Moves the map of this name out of the object.
pub(super) fn take_map<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, SensorError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(SensorError::Missing(name))?;
    T::try_from(map).map_err(|source| SensorError::Map {
        map: name,
        source: Box::new(source),
    })
}
