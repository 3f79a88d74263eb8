//! Attaches discovered libraries, and lists them.

use std::{error::Error, io};

use super::log::LogLimit;
use crate::{
    bpf::{SensorError, Sensors},
    host::{DescriptorLimit, discover::DiscoveredLibrary},
    status::{CookieSource, LibraryStatus, MAX_LIBRARIES, Reason, Status},
};
use reprise_core::plan::{Hook, Plan};

/// Maximum number of error reason names retained; OpenSSL 3.5 has about 400.
const MAX_NAMES: usize = 4096;

/// Slots of the sensor that are left free, so that the slot of a detached library is not reused
/// before the handshakes that began with it have ended.
const SPARE_SLOTS: usize = 32;
/// Descriptors of one library: a link per program, or one or two per attach point.
const DESCRIPTORS_PER_LIBRARY: usize = 6;
const DESCRIPTORS_PER_LIBRARY_OF_POINTS: usize = 64;

/// Number of library files that can be observed at one time.
pub(super) fn places(limit: DescriptorLimit, cookie_source: CookieSource) -> usize {
    let descriptors = match cookie_source {
        CookieSource::UprobeMulti => DESCRIPTORS_PER_LIBRARY,
        CookieSource::PerfEvent | CookieSource::ProgramCopies => DESCRIPTORS_PER_LIBRARY_OF_POINTS,
    };
    let most = MAX_LIBRARIES - SPARE_SLOTS;
    let places = limit.libraries(descriptors).min(most);
    if places < most {
        let limit = limit.0;
        tracing::info!(
            limit,
            places,
            "the limit of open files (RLIMIT_NOFILE) bounds the number of observed library files"
        );
    }
    places
}

/// Attaches a library; returns its entry in the list, and the reason if it is not observed.
pub(super) fn attach(
    sensors: &mut Sensors,
    library: &DiscoveredLibrary,
    status: &mut Status,
    log: &mut LogLimit,
) -> (LibraryStatus, Option<(Reason, String)>) {
    let mut listed = LibraryStatus {
        id: library.id,
        library: file_name(&library.path),
        version: "unknown".to_owned(),
        entry: "none".to_owned(),
        evidence: String::new(),
        path: library.path.clone(),
        build_id: None,
        observed: false,
    };
    let path = &library.path;
    match attach_plan(sensors, library, &mut listed, status) {
        Ok(()) => {
            let (version, entry) = (&listed.version, &listed.entry);
            if log.allows() {
                tracing::info!(path, version, entry, "library observed");
            }
            (listed, None)
        }
        Err((reason, finding)) => {
            if log.allows() {
                tracing::warn!(path, reason = finding, "library not observed");
            }
            listed.evidence.clone_from(&finding);
            (listed, Some((reason, finding)))
        }
    }
}

fn file_name(path: &str) -> String {
    let path = path.trim_end_matches(" (deleted)");
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn attach_plan(
    sensors: &mut Sensors,
    library: &DiscoveredLibrary,
    listed: &mut LibraryStatus,
    status: &mut Status,
) -> Result<(), (Reason, String)> {
    let unsupported = |finding| (Reason::UnsupportedBuild, finding);
    let failed = |finding| (Reason::AttachFailed, finding);
    let plan = library.plan.as_ref();
    let plan = plan.map_err(Clone::clone)?;
    listed.version = plan.version.clone().unwrap_or("unknown".to_owned());
    listed.build_id.clone_from(&plan.build_id);
    add_names(plan, status);
    if let Some(field) = missing(plan) {
        return Err(unsupported(format!(
            "handshake function found, but not the field for {field}"
        )));
    }
    let Some(sensor) = &mut sensors.handshake else {
        return Err(failed("the handshake sensor is not attached".to_owned()));
    };
    let crypto = library.crypto.as_ref();
    sensor
        .attach(library.id, plan, &library.ssl, crypto, status)
        .map_err(|error| match error {
            SensorError::TooManyLibraries(_) => (Reason::TooManyLibraries, crate::chain(&error)),
            _ if is_out_of_descriptors(&error) => {
                let limit = DescriptorLimit::current().0;
                let finding = format!(
                    "the limit of open files (RLIMIT_NOFILE, {limit}) is reached: {}",
                    crate::chain(&error)
                );
                (Reason::TooManyLibraries, finding)
            }
            _ => failed(crate::chain(&error)),
        })?;
    listed.observed = true;
    listed.entry = entry(plan.hook).to_owned();
    listed.evidence = plan.basis.label().to_owned();
    Ok(())
}

/// Whether an error or one of its sources is that no descriptor is left.
fn is_out_of_descriptors(error: &(dyn Error + 'static)) -> bool {
    let mut sources = std::iter::successors(Some(error), |error| (*error).source());
    sources.any(|error| {
        let code = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        matches!(code, Some(libc::EMFILE | libc::ENFILE))
    })
}

/// Adds the names of the library's error reasons. A number has the same name in all versions, so
/// the first name remains.
fn add_names(plan: &Plan, status: &mut Status) {
    let names = &mut status.reasons;
    for (number, name) in &plan.reasons {
        if names.len() < MAX_NAMES {
            names.entry(*number).or_insert_with(|| name.clone());
        }
    }
}

const fn entry(hook: Hook) -> &'static str {
    match hook {
        Hook::StateMachine => "state_machine",
        Hook::MethodTable => "method_table",
        Hook::DoHandshake => "do_handshake",
    }
}

/// A missing field without which handshakes would be counted wrongly. Without any other field, a
/// part of the facts is counted as unknown.
fn missing(plan: &Plan) -> Option<&'static str> {
    let fields = &plan.fields;
    let phase = fields.state.and(fields.hand_state);
    let phase = phase.or(fields.legacy_state);
    let phase = phase.or(fields.handshake.and(fields.step));
    if phase.is_none() {
        return Some("the handshake state");
    }
    (fields.server.is_none() && !plan.role_in_argument).then_some("the role")
}

#[cfg(test)]
mod tests {
    use super::*;
    use reprise_core::plan::{self, Basis, Field, Fields};

    #[test]
    fn descriptors_that_have_run_out_are_named() {
        let source = io::Error::from_raw_os_error(libc::EMFILE);
        let load = SensorError::LoadProgram {
            probe: "hs_exit",
            source,
        };
        assert!(is_out_of_descriptors(&load));
        let source = io::Error::from_raw_os_error(libc::EACCES);
        let verifier = SensorError::Verifier {
            probe: "hs_exit",
            source,
        };
        assert!(!is_out_of_descriptors(&verifier));
    }

    #[test]
    fn descriptors_bound_the_places() {
        let most = MAX_LIBRARIES - SPARE_SLOTS;
        let places = |limit, source| places(DescriptorLimit(limit), source);
        assert_eq!(places(1 << 20, CookieSource::UprobeMulti), most);
        assert_eq!(places(1024, CookieSource::UprobeMulti), 128);
        assert_eq!(places(1024, CookieSource::PerfEvent), 12);
    }

    #[test]
    fn a_plan_requires_state_and_role() {
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
        assert_eq!(missing(&plan(fields, false)), Some("the role"));
        let server = Fields {
            server: at,
            ..Fields::default()
        };
        assert_eq!(missing(&plan(server, false)), Some("the handshake state"));
        let one = Fields {
            legacy_state: at,
            ..server
        };
        assert_eq!(missing(&plan(one, false)), None);
        let object = Fields {
            handshake: at,
            ..server
        };
        assert_eq!(missing(&plan(object, false)), Some("the handshake state"));
    }
}
