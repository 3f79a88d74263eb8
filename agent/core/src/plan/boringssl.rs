//! BoringSSL: whether a library is one, and the layout of its connection object.
//!
//! All its handshakes pass `SSL_do_handshake` (ssl/ssl_lib.cc): `SSL_read` and `SSL_write` call it
//! as long as there is a handshake object, `ssl->s3->hs`, which is freed at the end of the
//! handshake. Flags are single bits, so they are located by experiments with the accessors.

use memchr::memmem;

use super::elf::Image;
use super::error::PlanError;
use super::evidence::Evidence;
use super::experiment::{Experiment, VERSIONS, WANTS};
use super::field::Field;
use super::fields;
use super::isa::{Isa, Preset};
use super::probe_plan::Fields;

/// Functions that only BoringSSL exports (its include/openssl/ssl.h); forks have most of them.
const OWN: [&str; 3] = [
    "SSL_CTX_set_custom_verify",
    "SSL_CTX_set_grease_enabled",
    "SSL_early_callback_ctx_extension_get",
];
/// Results of its `OpenSSL_version` (crypto/crypto.c), by version.
const TEXTS: [&[u8]; 2] = [b"BoringSSL", b"OpenSSL 1.1.1 (compatible; BoringSSL)"];
/// The end of a source file's name, which its errors hold: the only trace in a stripped program.
pub(super) const SOURCE: &str = "ssl/handshake_server.cc";

/// Whether the file exports BoringSSL's handshake.
pub(super) fn has_symbols(image: &Image<'_>) -> bool {
    image.symbol("SSL_do_handshake").is_some()
        && OWN.iter().any(|function| image.symbol(function).is_some())
}

/// Whether the file holds a text of BoringSSL.
pub(super) fn has_text(image: &Image<'_>) -> bool {
    let named = image.search_constants(|bytes| {
        let is_source = ends(bytes, SOURCE.as_bytes()).next().is_some();
        let is_text = TEXTS.iter().any(|text| {
            ends(bytes, text).any(|at| {
                let before = at.checked_sub(1);
                before.is_none_or(|before| bytes.get(before) == Some(&0))
            })
        });
        (is_source || is_text).then_some(())
    });
    named.is_some()
}

/// The places of `text` where a string ends with it.
fn ends<'b>(bytes: &'b [u8], text: &'b [u8]) -> impl Iterator<Item = usize> + 'b {
    memmem::find_iter(bytes, text)
        .filter(|at| bytes.get(at + text.len()).is_none_or(|byte| *byte == 0))
}

/// Decodes all fields. `crypto` is the image that holds BIO.
pub(super) fn decode(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    crypto: &Image<'_>,
    evidence: &mut Evidence,
) -> Result<Fields, PlanError> {
    let experiment = |accessor: &str| Experiment::with_accessor(isa, ssl, accessor);
    let required = |field: &'static str, accessor: &'static str, found: Option<Field>| {
        found.ok_or(PlanError::Field { field, accessor })
    };
    let handshake = experiment("SSL_in_init").and_then(|it| it.find_pointer());
    let handshake = required("handshake", "SSL_in_init", handshake)?;
    let server = experiment("SSL_is_server").and_then(|it| it.find_bit());
    let server = required("server", "SSL_is_server", server)?;
    let step = experiment("SSL_state_string_long").and_then(|it| step(it, handshake, server));
    let step = required("step", "SSL_state_string_long", step)?;
    // These are read after the handshake.
    let over = Preset {
        field: handshake,
        value: 0,
    };
    let after = |accessor: &str| experiment(accessor).map(|it| it.with_constant(over));
    let found = Fields {
        handshake: Some(handshake),
        step: Some(step),
        server: Some(server),
        hit: after("SSL_session_reused").and_then(|it| it.find_bit()),
        version: after("SSL_version").and_then(|it| it.find_number(&VERSIONS)),
        rwstate: experiment("SSL_want").and_then(|it| it.find_number(&WANTS)),
        ..Fields::default()
    };
    for (part, accessor, field) in [
        ("handshake", "SSL_in_init", found.handshake),
        ("step", "SSL_state_string_long", found.step),
        ("server", "SSL_is_server", found.server),
        ("hit", "SSL_session_reused", found.hit),
        ("version", "SSL_version", found.version),
        ("rwstate", "SSL_want", found.rwstate),
    ] {
        let text = match field {
            Some(field) => format!("{field} alone decides the result of {accessor}"),
            None => format!("{accessor} is missing, or no single place decides its result"),
        };
        evidence.push((part, text));
    }
    Ok(fields::add_objects(isa, ssl, crypto, found, evidence))
}

/// The handshake object's state, which `SSL_state_string_long` names: the first number that it
/// reads in that object, for both roles.
fn step(experiment: Experiment<'_, '_>, handshake: Field, server: Field) -> Option<Field> {
    let accepting = Preset {
        field: server,
        value: u64::from(server.mask),
    };
    let first = |preset: Option<Preset>| {
        let trace = experiment.run(preset);
        let numbers = trace.reads.iter().filter(|read| read.size == 4);
        numbers
            .filter_map(|read| trace.field(read.place))
            .find(|field| field.through == [handshake.through[0], Some(handshake.offset)])
    };
    first(None).filter(|connecting| first(Some(accepting)) == Some(*connecting))
}
