//! The probe planner: ELF bytes in, probe plan out.
//!
//! Pure. The agent's discovery calls it with the bytes of the file that will be probed, and
//! `reprise inspect` with those of the file that it is asked about. It never opens a file, never
//! decides by version, and never panics on hostile input: every table, walk and run is bounded.
//!
//! Modules, each of which imports only from those above it:
//!
//! - `field`, `error`, `evidence`, `probe_plan`: what a plan consists of.
//! - `work`: the budget of one file.
//! - `pages`, `elf`: the file, by offset and by virtual address.
//! - `insn`, `trace`, `isa`, `memory`: the interface to an instruction set, and what an abstract
//!   run of a function sees and records.
//! - `x86_64`, `aarch64`, `machine`: the instruction sets, and the choice between them.
//! - `cfg`, `min_cut`, `exits`: control flow, and the instructions to probe where it ends.
//! - `fields`, `experiment`, `boringssl`, `method_table`, `statem`, `stripped`, `field_inference`:
//!   where the handshake runs and where a connection object holds its fields, with symbols and
//!   without.
//! - `points`, `session_lookup`, `session`, `hook`: the probe points.
//! - `version`, `reasons`: texts of the library, for display.
//! - `tls_signature`: whether a file holds a TLS library at all.

mod aarch64;
mod boringssl;
mod cfg;
mod elf;
mod error;
mod evidence;
mod exits;
mod experiment;
mod field;
mod field_inference;
mod fields;
mod hook;
mod insn;
mod isa;
mod machine;
mod memory;
mod method_table;
mod min_cut;
mod pages;
mod points;
mod probe_plan;
mod reasons;
mod session;
mod session_lookup;
mod statem;
mod stripped;
#[cfg(test)]
mod tests;
mod tls_signature;
mod trace;
mod version;
mod work;
mod x86_64;

pub use error::PlanError;
pub use field::Field;
pub use pages::Bytes;
pub use probe_plan::{Basis, ErrorProbe, Fields, Hook, Plan, ProbePoint, Session};
pub use tls_signature::{Carrier, by_text, defines_tls, needed_crypto};
pub use work::MAX_WORK;

use elf::{Image, Tables};
use evidence::Evidence;
use pages::Pages;
use work::Work;

/// Limit of the points at which drives begin and end. Known libraries have up to twenty.
const MAX_POINTS: usize = 128;

/// The files that a plan is made from.
#[derive(Clone, Copy)]
pub struct Images<'a> {
    /// The file that holds the TLS state machine (`libssl.so.3`).
    pub ssl: &'a dyn Bytes,
    /// The file that holds BIO and the error queue (`libcrypto.so.3`), if it is another one.
    pub crypto: Option<&'a dyn Bytes>,
}

/// Makes the plan for one library.
///
/// A crypto image that cannot be read costs the error probe and `bio_flags`, not the plan.
///
/// # Errors
/// [`PlanError`] names the step that failed on the ssl image.
pub fn plan(images: Images<'_>) -> Result<Plan, PlanError> {
    plan_and_count(images).0
}

/// Makes the plan for one library, and returns the units of work that it cost: at most little more
/// than [`MAX_WORK`].
pub fn plan_and_count(images: Images<'_>) -> (Result<Plan, PlanError>, u64) {
    let work = Work::default();
    let planned = plan_within(images, &work);
    // With reads that failed, the outcome shows nothing about the library.
    let planned = match work.exhausted() {
        Some(exhausted) => Err(exhausted.into()),
        None => planned,
    };
    (planned, work.units())
}

fn plan_within(images: Images<'_>, work: &Work) -> Result<Plan, PlanError> {
    let ssl = Pages::with_work(images.ssl, work.clone());
    let crypto = images
        .crypto
        .map(|file| Pages::with_work(file, work.clone()));
    let ssl = Image::parse(&ssl, Tables::All)?;
    let isa = machine::isa_for(ssl.machine)?;
    let isa = isa.as_ref();
    let mut evidence = Evidence::new();
    let crypto = crypto
        .as_ref()
        .and_then(|file| parse_crypto(file, &ssl, &mut evidence));
    let drives = hook::find(isa, &ssl, crypto.as_ref().unwrap_or(&ssl), &mut evidence)?;
    if drives.entries.len() + drives.exits.len() > MAX_POINTS {
        return Err(PlanError::TooManyPoints { limit: MAX_POINTS });
    }
    let free = ssl
        .symbol("SSL_free")
        .and_then(|at| points::for_call(isa, &ssl, at));
    let error = points::for_errors(isa, &ssl, crypto.as_ref(), &mut evidence);
    let session = match drives.fields.handshake {
        // BoringSSL's session objects have another layout.
        Some(_) => Session::default(),
        None => session::decode(isa, &ssl, &mut evidence),
    };
    let mut reasons = reasons::find(&ssl);
    if reasons.is_empty()
        && let Some(crypto) = &crypto
    {
        reasons = reasons::find(crypto);
    }
    evidence.push(("error reasons", format!("{} names", reasons.len())));
    Ok(Plan {
        version: crypto
            .as_ref()
            .and_then(|image| version::find(isa, image))
            .or_else(|| version::find(isa, &ssl)),
        build_id: ssl.build_id.clone(),
        machine: isa.name(),
        hook: drives.hook,
        role_in_argument: drives.role_in_argument,
        entries: drives.entries,
        exits: drives.exits,
        free,
        error,
        fields: drives.fields,
        reasons,
        session,
        basis: drives.basis,
        evidence,
    })
}

/// The crypto image, if it can be read and is for the same machine as the ssl image.
fn parse_crypto<'a>(
    file: &'a Pages<'a>,
    ssl: &Image<'_>,
    evidence: &mut Evidence,
) -> Option<Image<'a>> {
    let rejected = match Image::parse(file, Tables::All) {
        Ok(image) if image.machine == ssl.machine => return Some(image),
        Ok(_) => "is for another machine: not used".to_owned(),
        Err(error) => format!("not used: {error}"),
    };
    evidence.push(("crypto image", rejected));
    None
}
