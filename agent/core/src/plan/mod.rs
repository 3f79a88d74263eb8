//! The probe planner: ELF bytes in, probe plan out.
//!
//! Pure: called by `sensors::handshake` (and `reprise inspect`) with the bytes of the very file that will be probed. It
//! never opens a file, never looks at a version to decide anything, and never panics on hostile input: every table, walk
//! and run is bounded.
//!
//! Its rooms: `elf` reads the file; `isa` is the seam to a machine, with `x86_64` and `aarch64` behind it; `memory` is what an
//! abstract call sees and `trace` what it leaves; `statem` and `fields` ask such calls, `experiment` and `boringssl` ask what changes
//! them, `shape` and `nameless` do without names; `cfg` follows control, `exits` and `cut` choose where it ends, `points` makes probe
//! points of all that; `drives` chooses the hook; `session` and `turned_down` find
//! where sessions are kept and let go.

mod aarch64;
mod behaviour;
mod boringssl;
mod carrier;
mod cfg;
mod cut;
mod drives;
mod elf;
mod exits;
mod experiment;
mod field;
mod fields;
mod isa;
mod memory;
mod nameless;
mod no_plan;
mod pages;
mod points;
mod reasons;
mod session;
mod shape;
mod statem;
#[cfg(test)]
mod tests;
mod trace;
mod turned_down;
mod version;
mod x86_64;

use std::collections::BTreeMap;

use serde::Serialize;

pub use carrier::{Carrier, by_text, defines_tls, needed_crypto};
pub use field::Field;
pub use no_plan::NoPlan;
pub use pages::Bytes;
pub use session::Session;

use elf::{Image, Tables};
use pages::Pages;

/// The files a plan is made from.
#[derive(Clone, Copy)]
pub struct Images<'a> {
    /// The file that holds the TLS state machine (`libssl.so.3`).
    pub ssl: &'a dyn Bytes,
    /// The file that holds BIO and error queue (`libcrypto.so.3`), when it is another one.
    pub crypto: Option<&'a dyn Bytes>,
}

/// Where to probe one library, and where its connection object keeps what is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Version text found in the image (`3.0.19`); for display only, it decides nothing.
    pub version: Option<String>,
    /// GNU build ID of the ssl image, lower-case hex.
    pub build_id: Option<String>,
    /// Whose code it is, as Rust names it (`x86_64`, `aarch64`).
    pub machine: &'static str,
    /// How the handshake drive was found.
    pub hook: Hook,
    /// The second argument of the probed function is the role, at each entry: not 0 on the accepting side.
    pub role_in_argument: bool,
    /// Instructions of which exactly one runs when a drive of the state machine begins; the connection object is the first
    /// argument.
    pub entries: Vec<ProbePoint>,
    /// Instructions of which exactly one runs on every way out of a drive, once the state is final. A drive that ends before
    /// it does anything (a connection that had failed before) may pass none.
    pub exits: Vec<ProbePoint>,
    /// An instruction of `SSL_free` that runs once in each call; the connection object is the first argument.
    pub free: Option<ProbePoint>,
    /// Where library errors are seen.
    pub error: Option<ErrorProbe>,
    /// Where the connection object keeps what is read.
    pub fields: Fields,
    /// Where sessions keep what is read, and where they end.
    pub session: Session,
    /// Names of the library's error reasons, by number.
    #[serde(skip)]
    pub reasons: BTreeMap<u32, String>,
    /// What tells how far a handshake is.
    pub basis: Basis,
    /// What each part of the plan rests on, for people: `(part, evidence)`.
    pub evidence: Vec<(&'static str, String)>,
}

/// How the handshake drive was found, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// The common body of `ossl_statem_accept` and `ossl_statem_connect`.
    StateMachine,
    /// The functions in the method tables, each with a body of its own. In 1.0.2 one of them may run inside another one with
    /// the same connection object (`ssl23_accept` calls `ssl3_accept`), with another stack pointer.
    MethodTable,
    /// The exported function `SSL_do_handshake`, with those beside it that do not call it. All exits are returns.
    DoHandshake,
}

/// What tells how far a handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Exported accessors.
    ExportedAccessors,
    /// The state machine's own code: the accessors have no names.
    StateMachine,
}

impl Basis {
    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ExportedAccessors => "exported_accessors",
            Self::StateMachine => "state_machine",
        }
    }
}

/// One instruction to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProbePoint {
    /// Offset of the instruction in the file, bytes: what the kernel attaches to.
    pub offset: u64,
    /// Stack pointer at function entry minus stack pointer here, bytes: joins an exit to its entry. 0 at entries and at
    /// `ret`; may be another number at `free` and `error`, where nothing is joined.
    pub sp_delta: u32,
    /// The kernel emulates this instruction (`push`, `nop`, `call`, jumps) instead of single-stepping a copy: a tenth of the cost.
    pub emulated: bool,
}

/// Where library errors are raised: `ERR_set_error` and `ERR_vset_error` (3.0 and later) or `ERR_put_error` (1.1.1 and earlier).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorProbe {
    /// Instructions of which exactly one runs in each call, with its arguments in place: the jumps of linkage stubs, or one in
    /// the function itself.
    pub points: Vec<ProbePoint>,
    /// They are in the crypto image, not the ssl image.
    pub in_crypto: bool,
    /// Which argument (0-based) is the reason; argument 0 is the library number.
    pub reason_arg: u8,
}

/// Where the connection object keeps what is read; `None` where not decoded. How far the handshake is stands in one of three
/// groups: `state`, `hand_state` and `in_init`; `legacy_state`; `handshake` and `step`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fields {
    /// `statem.state` (int): 0 uninitialised, 1 error, 2 reading, 3 writing, 4 finished.
    pub state: Option<Field>,
    /// `statem.hand_state` (int): 0 before, 1 `TLS_ST_OK`.
    pub hand_state: Option<Field>,
    /// `statem.in_init` (int).
    pub in_init: Option<Field>,
    /// `state` (int) of OpenSSL 1.0.2 and of LibreSSL. Values (include/openssl/ssl.h and ssl3.h of 1.0.2): 0x6000
    /// (accepting) and 0x5000 (connecting) before a handshake, 3 `SSL_ST_OK` after it, 0x3004 where it is to be repeated,
    /// 0x3005 `SSL_ST_ERR`; any other number is a step of a running handshake.
    pub legacy_state: Option<Field>,
    /// `s3->hs` (pointer) of BoringSSL: null but while a handshake runs.
    pub handshake: Option<Field>,
    /// `s3->hs->state` (int) of BoringSSL: 0 before its first step.
    pub step: Option<Field>,
    /// `server`: not 0 on the accepting side.
    pub server: Option<Field>,
    /// `version`: wire version, 0x0303 and so on.
    pub version: Option<Field>,
    /// `hit`: not 0 where the session was resumed.
    pub hit: Option<Field>,
    /// `rbio` (pointer).
    pub rbio: Option<Field>,
    /// `wbio` (pointer).
    pub wbio: Option<Field>,
    /// `rwstate` (int), as `SSL_want` returns it.
    pub rwstate: Option<Field>,
    /// `client_random` (32 bytes): in the connection object from 3.0 on, behind its pointer `s3` before.
    pub client_random: Option<Field>,
    /// `BIO.flags` (int) in a BIO object, from the crypto image: offset, bytes.
    pub bio_flags: Option<u32>,
    /// `shutdown` (int), as `SSL_get_shutdown` returns it: 1 sent, 2 received.
    pub shutdown: Option<Field>,
}

/// `(part, evidence)`.
type Evidence = Vec<(&'static str, String)>;

/// Makes the plan for one library.
///
/// A crypto image that cannot be read costs the error probe and `bio_flags`, not the plan.
///
/// # Errors
/// [`NoPlan`] says which step failed on the ssl image.
pub fn plan(images: Images<'_>) -> Result<Plan, NoPlan> {
    let ssl = Pages::new(images.ssl);
    let crypto = images.crypto.map(Pages::new);
    let ssl = Image::parse(&ssl, Tables::All)?;
    let isa = isa::for_machine(ssl.machine)?;
    let isa = isa.as_ref();
    let mut evidence = Evidence::new();
    let crypto = match crypto.as_ref().map(|file| Image::parse(file, Tables::All)) {
        Some(Ok(image)) if image.machine == ssl.machine => Some(image),
        Some(Ok(_)) => {
            evidence.push((
                "crypto image",
                "is for another machine: not used".to_owned(),
            ));
            None
        }
        Some(Err(error)) => {
            evidence.push(("crypto image", format!("not used: {error}")));
            None
        }
        None => None,
    };
    let drives = drives::find(isa, &ssl, crypto.as_ref().unwrap_or(&ssl), &mut evidence)?;
    let free = ssl
        .symbol("SSL_free")
        .and_then(|at| points::start_of(isa, &ssl, at));
    let error = points::error_probe(isa, &ssl, crypto.as_ref(), &mut evidence);
    let session = match drives.fields.handshake {
        // BoringSSL's sessions are built otherwise.
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
