//! Where the connection object keeps what is read: decoded from the accessors that every OpenSSL exports.
//!
//! Called by `plan`. Each accessor is run on an imagined connection; the place its result was read from is the field.
//! Offsets differ between versions and between builds of one version (node's 1.1.1 has other ones), so there is no table.

use super::elf::Image;
use super::isa::{Call, Isa};
use super::trace::{Access, Place, Trace, Value};
use super::{Evidence, Fields, NoPlan};

/// `statem.hand_state` minus `statem.state`, from 1.1.0 to 4.0: `OSSL_STATEM` begins with the five ints `state`,
/// `write_state`, `write_state_work`, `read_state` and `read_state_work` (ssl/statem/statem.h).
const STATE_TO_HAND_STATE: u32 = 0x14;
/// Size of `client_random` (SSL3_RANDOM_SIZE, include/openssl/ssl3.h).
const RANDOM_SIZE: i64 = 32;
/// A plausible offset in a connection object; the largest is 0x1a00 or so.
const MAX_OFFSET: i64 = 0x1_0000;

/// Decodes all fields. `crypto` is the image that holds BIO.
pub(super) fn decode(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    crypto: &Image<'_>,
    evidence: &mut Evidence,
) -> Result<Fields, NoPlan> {
    let mut reader = Reader { isa, ssl, evidence };
    let hand_state = reader.required("hand_state", "SSL_get_state")?;
    let fields = Fields {
        hand_state: Some(hand_state),
        state: Some(reader.state(hand_state)?),
        in_init: Some(reader.required("in_init", "SSL_in_init")?),
        server: Some(reader.required("server", "SSL_is_server")?),
        hit: Some(reader.required("hit", "SSL_session_reused")?),
        version: reader.returned("version", "SSL_version", Call::default()),
        rbio: reader.returned("rbio", "SSL_get_rbio", Call::default()),
        // The write BIO is behind a buffering one while `bbio` is set; null pointers lead past it.
        wbio: reader.returned(
            "wbio",
            "SSL_get_wbio",
            Call {
                null_pointers: true,
                ..Call::default()
            },
        ),
        rwstate: reader.returned("rwstate", "SSL_want", Call::default()),
        client_random: reader.client_random(),
        bio_flags: Reader {
            isa,
            ssl: crypto,
            evidence: reader.evidence,
        }
        .bio_flags(),
    };
    Ok(fields)
}

struct Reader<'r, 'a> {
    isa: &'r dyn Isa,
    ssl: &'r Image<'a>,
    evidence: &'r mut Evidence,
}

/// Offset in the root object, if `place` is there.
fn in_root(place: Place) -> Option<u32> {
    (place.object == 0 && (0..MAX_OFFSET).contains(&place.offset))
        .then(|| u32::try_from(place.offset).ok())?
}

impl Reader<'_, '_> {
    fn trace(&self, accessor: &str, call: Call) -> Option<Trace> {
        Some(self.isa.call(self.ssl, self.ssl.symbol(accessor)?, call))
    }

    /// The field whose content `accessor` returns.
    fn returned(&mut self, field: &'static str, accessor: &str, call: Call) -> Option<u32> {
        let offset = self
            .trace(accessor, call)
            .and_then(|trace| in_root(trace.source(trace.returned?)?));
        self.note(field, accessor, offset)
    }

    fn note(&mut self, field: &'static str, accessor: &str, offset: Option<u32>) -> Option<u32> {
        let text = match (offset, self.ssl.symbol(accessor)) {
            (Some(offset), _) => format!("{accessor} reads {offset:#x}"),
            (None, Some(at)) => format!("{accessor} at {at:#x} names no field of the connection"),
            (None, None) => format!("{accessor} is not there"),
        };
        self.evidence.push((field, text));
        offset
    }

    fn required(&mut self, field: &'static str, accessor: &'static str) -> Result<u32, NoPlan> {
        self.returned(field, accessor, Call::default())
            .ok_or(NoPlan::Field { field, accessor })
    }

    /// `SSL_in_before` compares `hand_state` and `state` with 0.
    fn state(&mut self, hand_state: u32) -> Result<u32, NoPlan> {
        let expected = hand_state.checked_sub(STATE_TO_HAND_STATE);
        let reads = self
            .trace("SSL_in_before", Call::default())
            .map(|trace| trace.reads)
            .unwrap_or_default();
        let state = reads
            .iter()
            .filter_map(|read| in_root(read.place))
            .find(|offset| Some(*offset) == expected);
        let error = NoPlan::Field {
            field: "state",
            accessor: "SSL_in_before",
        };
        self.note("state", "SSL_in_before", state).ok_or(error)
    }

    /// `SSL_get_client_random(ssl, out, 32)` copies the random: by `memcpy`, or by reads of its parts.
    fn client_random(&mut self) -> Option<u32> {
        const ACCESSOR: &str = "SSL_get_client_random";
        let trace = self.trace(
            ACCESSOR,
            Call {
                size: 32,
                ..Call::default()
            },
        );
        let offset = trace.and_then(|trace| {
            let copied = trace.calls.iter().find_map(|arguments| match arguments {
                [_, Value::Pointer(place)] => in_root(*place),
                _ => None,
            });
            copied.or_else(|| {
                // Smaller reads are the object's type; a connection that keeps `s3` elsewhere reads a single pointer.
                let parts: Vec<&Access> = trace
                    .reads
                    .iter()
                    .filter(|read| read.size >= 8 && in_root(read.place).is_some())
                    .collect();
                let first = parts.iter().map(|read| read.place.offset).min()?;
                let end = parts
                    .iter()
                    .filter_map(|read| {
                        read.place
                            .offset
                            .checked_add(i64::try_from(read.size).ok()?)
                    })
                    .max()?;
                (end - first == RANDOM_SIZE).then(|| u32::try_from(first).ok())?
            })
        });
        self.note("client_random", ACCESSOR, offset)
    }

    /// `BIO_test_flags` returns `flags` masked with its argument: the one number it reads.
    fn bio_flags(&mut self) -> Option<u32> {
        let trace = self.trace("BIO_test_flags", Call::default());
        let offset = trace.and_then(|trace| match trace.reads.as_slice() {
            [Access { place, size: 4, .. }] => in_root(*place),
            _ => None,
        });
        self.note("bio_flags", "BIO_test_flags", offset)
    }
}
