//! The layout of the connection object, decoded from the accessors that every OpenSSL exports.
//!
//! Each accessor is run on a symbolic connection; the place that its result was read from is the
//! field. Offsets differ between versions and between builds of one version (Node.js's 1.1.1
//! differs from others), so they are not listed in a table.

use super::elf::Image;
use super::error::PlanError;
use super::evidence::Evidence;
use super::field::Field;
use super::isa::{Call, Isa};
use super::probe_plan::Fields;
use super::trace::{Access, Place, Trace, Value};

/// `statem.hand_state` minus `statem.state`, from 1.1.0 to 4.0: `OSSL_STATEM` begins with the five
/// ints `state`, `write_state`, `write_state_work`, `read_state` and `read_state_work`
/// (ssl/statem/statem.h).
pub(super) const STATE_TO_HAND_STATE: u32 = 0x14;
/// Size of `client_random` (SSL3_RANDOM_SIZE, include/openssl/ssl3.h).
const RANDOM_SIZE: i64 = 32;
/// `SSL_CTRL_GET_SESSION_REUSED` (include/openssl/ssl.h of 1.0.2), which the macro
/// `SSL_session_reused` uses.
const GET_SESSION_REUSED: u64 = 8;

/// Locations of `statem.state` and `statem.hand_state`.
pub(super) type States = (Field, Field);

/// Decodes all fields. `crypto` is the image that holds BIO. `fallback` locates the state where its
/// accessors are missing: a program contains only those functions of a static library that it uses.
pub(super) fn decode(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    crypto: &Image<'_>,
    evidence: &mut Evidence,
    fallback: impl FnOnce(&mut Evidence) -> Result<States, PlanError>,
) -> Result<Fields, PlanError> {
    let mut reader = Reader { isa, ssl, evidence };
    let states = match reader.is_legacy() {
        true => reader.legacy_states()?,
        false => reader.states(fallback)?,
    };
    let fields = Fields {
        server: reader.returned("server", "SSL_is_server", Call::default()),
        version: reader.returned("version", "SSL_version", Call::default()),
        rwstate: reader.returned("rwstate", "SSL_want", Call::default()),
        shutdown: reader.returned("shutdown", "SSL_get_shutdown", Call::default()),
        ..states
    };
    Ok(add_objects(isa, ssl, crypto, fields, evidence))
}

/// Adds the client random and both BIOs to `fields`.
pub(super) fn add_objects(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    crypto: &Image<'_>,
    fields: Fields,
    evidence: &mut Evidence,
) -> Fields {
    let client_random = client_random(isa, ssl, evidence);
    let mut reader = Reader { isa, ssl, evidence };
    Fields {
        rbio: reader.returned("rbio", "SSL_get_rbio", Call::default()),
        // A buffering BIO precedes the write BIO while `bbio` is set; null pointers skip it.
        wbio: reader.returned(
            "wbio",
            "SSL_get_wbio",
            Call {
                null_pointers: true,
                ..Call::default()
            },
        ),
        client_random,
        bio_flags: Reader {
            isa,
            ssl: crypto,
            evidence: reader.evidence,
        }
        .bio_flags(),
        ..fields
    }
}

struct Reader<'r, 'a> {
    isa: &'r dyn Isa,
    ssl: &'r Image<'a>,
    evidence: &'r mut Evidence,
}

/// Decodes the client random, which `SSL_get_client_random(ssl, out, 32)` copies by `memcpy` or in
/// parts. It is in the connection, or in an object that the connection points to.
pub(super) fn client_random(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    evidence: &mut Evidence,
) -> Option<Field> {
    const ACCESSOR: &str = "SSL_get_client_random";
    let mut reader = Reader { isa, ssl, evidence };
    let call = Call {
        third_argument: RANDOM_SIZE.unsigned_abs(),
        ..Call::default()
    };
    let field = reader
        .run(ACCESSOR, call)
        .and_then(|trace| trace.field(copy_source(&trace)?));
    reader.record("client_random", ACCESSOR, field)
}

/// The place of the 32 bytes that a function copied.
fn copy_source(trace: &Trace) -> Option<Place> {
    let by_call = trace.calls.iter().find_map(|arguments| match arguments {
        [_, Value::Pointer(place)] => Some(*place),
        _ => None,
    });
    by_call.or_else(|| {
        // Smaller reads are of the object's type, a single one is of the pointer to the object that
        // holds the random.
        let parts = trace.reads.iter().filter(|read| read.size >= 8);
        let object = parts.clone().next_back()?.place.object;
        let parts: Vec<&Access> = parts.filter(|read| read.place.object == object).collect();
        let offset = parts.iter().map(|read| read.place.offset).min()?;
        let ends = parts.iter().filter_map(|read| {
            let size = i64::try_from(read.size).ok()?;
            read.place.offset.checked_add(size)
        });
        (ends.max()?.checked_sub(offset)? == RANDOM_SIZE).then_some(Place { object, offset })
    })
}

impl Reader<'_, '_> {
    fn run(&self, accessor: &str, call: Call) -> Option<Trace> {
        Some(
            self.isa
                .interpret(self.ssl, self.ssl.symbol(accessor)?, call),
        )
    }

    /// Decodes the field that `accessor` returns.
    fn returned(&mut self, field: &'static str, accessor: &str, call: Call) -> Option<Field> {
        let found = self
            .run(accessor, call)
            .and_then(|trace| trace.field(trace.source(trace.returned?)?));
        self.record(field, accessor, found)
    }

    fn record(
        &mut self,
        field: &'static str,
        accessor: &str,
        found: Option<Field>,
    ) -> Option<Field> {
        let text = match (found, self.ssl.symbol(accessor)) {
            (Some(found), _) => format!("{accessor} reads {found}"),
            (None, Some(at)) => format!("{accessor} at {at:#x} names no field of the connection"),
            (None, None) => format!("{accessor} is not there"),
        };
        self.evidence.push((field, text));
        found
    }

    /// Whether this is OpenSSL 1.0.2 or earlier, or LibreSSL: `SSL_get_state` is a macro there
    /// (include/openssl/ssl.h) and a function from 1.1.0 on.
    fn is_legacy(&self) -> bool {
        self.ssl.symbol("SSL_get_state").is_none() && self.ssl.symbol("SSL_state").is_some()
    }

    /// Decodes state and result of the handshake from 1.1.0 on.
    fn states(
        &mut self,
        fallback: impl FnOnce(&mut Evidence) -> Result<States, PlanError>,
    ) -> Result<Fields, PlanError> {
        let hand_state = self.returned("hand_state", "SSL_get_state", Call::default());
        let named = hand_state.and_then(|hand_state| Some((self.state(hand_state)?, hand_state)));
        let (state, hand_state) = match named {
            Some(states) => states,
            None => fallback(self.evidence)?,
        };
        Ok(Fields {
            hand_state: Some(hand_state),
            state: Some(state),
            in_init: self.returned("in_init", "SSL_in_init", Call::default()),
            hit: self.returned("hit", "SSL_session_reused", Call::default()),
            ..Fields::default()
        })
    }

    /// Decodes state and result of the handshake before 1.1.0 and in LibreSSL, where
    /// `SSL_session_reused` is a macro: `SSL_ctrl` passes its command to `ssl3_ctrl`, in 1.0.2
    /// through the method of all versions but SSL 2, in LibreSSL directly.
    fn legacy_states(&mut self) -> Result<Fields, PlanError> {
        let call = Call {
            second_argument: Some(GET_SESSION_REUSED),
            ..Call::default()
        };
        let (field, accessor) = ("legacy_state", "SSL_state");
        let state = self.returned(field, accessor, Call::default());
        Ok(Fields {
            legacy_state: Some(state.ok_or(PlanError::Field { field, accessor })?),
            hit: self
                .returned("hit", "ssl3_ctrl", call)
                .or_else(|| self.returned("hit", "SSL_ctrl", call)),
            ..Fields::default()
        })
    }

    /// Decodes `state` from `SSL_in_before`, which compares `hand_state` and `state` with 0.
    fn state(&mut self, hand_state: Field) -> Option<Field> {
        let expected = hand_state
            .in_connection()
            .and_then(|offset| offset.checked_sub(STATE_TO_HAND_STATE));
        let reads = self
            .run("SSL_in_before", Call::default())
            .map(|trace| trace.reads)
            .unwrap_or_default();
        let state = reads
            .iter()
            .filter_map(|read| read.place.in_root())
            .find(|offset| Some(*offset) == expected);
        self.record("state", "SSL_in_before", state.map(Field::direct))
    }

    /// Decodes `BIO.flags`: the only number that `BIO_test_flags` reads.
    fn bio_flags(&mut self) -> Option<u32> {
        let trace = self.run("BIO_test_flags", Call::default());
        let offset = trace.and_then(|trace| match trace.reads.as_slice() {
            [Access { place, size: 4, .. }] => place.in_root(),
            _ => None,
        });
        self.record("bio_flags", "BIO_test_flags", offset.map(Field::direct))
            .map(|field| field.offset)
    }
}
