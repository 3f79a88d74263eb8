//! BoringSSL: whether a library is one, and where it keeps what is read.
//!
//! Called by `plan`. Its handshakes all pass `SSL_do_handshake` (ssl/ssl_lib.cc): `SSL_read` and `SSL_write` call it as long as there is a
//! handshake object, `ssl->s3->hs`, which is freed when the handshake is over. Flags are single bits there, so accessors are
//! experimented with.

use super::elf::Image;
use super::experiment::{Experiment, VERSIONS, WANTS};
use super::isa::{Given, Isa};
use super::{Evidence, Field, Fields, NoPlan, fields};

/// Functions that only BoringSSL exports (include/openssl/ssl.h there); its forks keep most of them.
const OWN: [&str; 3] = [
    "SSL_CTX_set_custom_verify",
    "SSL_CTX_set_grease_enabled",
    "SSL_early_callback_ctx_extension_get",
];
/// Texts that its `OpenSSL_version` has returned (crypto/crypto.c).
const TEXTS: [&[u8]; 2] = [b"BoringSSL", b"OpenSSL 1.1.1 (compatible; BoringSSL)"];
/// The end of a source's name, which its errors carry: all there is in a program without names.
pub(super) const SOURCE: &str = "ssl/handshake_server.cc";

/// The file exports BoringSSL's handshake.
pub(super) fn has_its_names(image: &Image<'_>) -> bool {
    image.symbol("SSL_do_handshake").is_some()
        && OWN.iter().any(|function| image.symbol(function).is_some())
}

/// The file holds the text by which BoringSSL names itself.
pub(super) fn has_its_text(image: &Image<'_>) -> bool {
    let named = image.search_constants(|bytes| {
        bytes
            .split(|byte| *byte == 0)
            .any(|string| TEXTS.contains(&string) || string.ends_with(SOURCE.as_bytes()))
            .then_some(())
    });
    named.is_some()
}

/// Decodes all fields. `crypto` is the image that holds BIO.
pub(super) fn decode(
    isa: &dyn Isa,
    ssl: &Image<'_>,
    crypto: &Image<'_>,
    evidence: &mut Evidence,
) -> Result<Fields, NoPlan> {
    let experiment = |accessor: &str| Experiment::with(isa, ssl, accessor);
    let required = |field: &'static str, accessor: &'static str, found: Option<Field>| {
        found.ok_or(NoPlan::Field { field, accessor })
    };
    let handshake = experiment("SSL_in_init").and_then(|it| it.presence());
    let handshake = required("handshake", "SSL_in_init", handshake)?;
    let server = experiment("SSL_is_server").and_then(|it| it.bit());
    let server = required("server", "SSL_is_server", server)?;
    let step = experiment("SSL_state_string_long").and_then(|it| step(it, handshake, server));
    let step = required("step", "SSL_state_string_long", step)?;
    // What is read when the handshake is over.
    let over = Given {
        field: handshake,
        value: 0,
    };
    let after = |accessor: &str| experiment(accessor).map(|it| it.given(over));
    let found = Fields {
        handshake: Some(handshake),
        step: Some(step),
        server: Some(server),
        hit: after("SSL_session_reused").and_then(|it| it.bit()),
        version: after("SSL_version").and_then(|it| it.number(&VERSIONS)),
        rwstate: experiment("SSL_want").and_then(|it| it.number(&WANTS)),
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
            Some(field) => format!("{field} alone decides what {accessor} returns"),
            None => format!("{accessor} is not there, or no one place decides what it returns"),
        };
        evidence.push((part, text));
    }
    Ok(fields::objects(isa, ssl, crypto, found, evidence))
}

/// `SSL_state_string_long` names the state of the handshake object: for both roles by the first number in that object.
fn step(experiment: Experiment<'_, '_>, handshake: Field, server: Field) -> Option<Field> {
    let accepting = Given {
        field: server,
        value: u64::from(server.mask),
    };
    let first = |given: Option<Given>| {
        let trace = experiment.run(given);
        let numbers = trace.reads.iter().filter(|read| read.size == 4);
        numbers
            .filter_map(|read| trace.field(read.place))
            .find(|field| field.through == [handshake.through[0], Some(handshake.offset)])
    };
    first(None).filter(|connecting| first(Some(accepting)) == Some(*connecting))
}
