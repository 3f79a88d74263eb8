//! From a library that was found to probes in it, and to what is listed of it.
//!
//! Called by the loop in `observer`.

use crate::{
    bpf::{SensorError, Sensors},
    host::discover,
    status::{self, Reason, Status},
};
use reprise_core::plan::{Hook, Plan};

/// Names of error reasons kept; OpenSSL 3.5 has about 400.
const MAX_NAMES: usize = 4096;

/// Attaches a library, or says why not.
pub(super) fn attach(
    sensors: &mut Sensors,
    found: discover::DiscoveredLibrary,
    status: &mut Status,
) -> (status::LibraryStatus, Option<(Reason, String)>) {
    let mut listed = status::LibraryStatus {
        id: found.id,
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
        let attached = sensor.attach(found.id, &plan, &found.ssl, found.crypto.as_ref(), status);
        attached.map(|()| (plan.hook, plan.basis)).map_err(|error| {
            let reason = match error {
                SensorError::TooManyLibraries(_) => Reason::TooManyLibraries,
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
    use reprise_core::plan::{self, Basis, Field, Fields};

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
