//! The probe planner: ELF bytes in, probe plan out.
//!
//! Pure: called by `sensors::handshake` (and `reprise inspect`) with the bytes of the very file that will be probed. It
//! never opens a file, never looks at a version to decide anything, and never panics on hostile input: every table, walk
//! and run is bounded.
//!
//! Its rooms: `elf` reads the file; `isa` is the seam to a machine, `x86_64` with `interp`, `machine`, `alu` and `switch` the one behind it;
//! `trace` is what an abstract call leaves; `fields` and `statem` ask such calls; `cfg` follows control, `exits` and `cut` choose where it
//! ends.

mod alu;
mod cfg;
mod cut;
mod elf;
mod exits;
mod fields;
mod interp;
mod isa;
mod machine;
mod no_plan;
mod statem;
mod switch;
#[cfg(test)]
mod tests;
mod trace;
mod version;
mod x86_64;

use serde::Serialize;

pub use no_plan::NoPlan;

use cfg::Graph;
use elf::Image;
use isa::Isa;
use statem::Entries;

/// Bytes of the files a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// The file that holds the TLS state machine (`libssl.so.3`).
    pub ssl: &'a [u8],
    /// The file that holds BIO and error queue (`libcrypto.so.3`), when it is another one.
    pub crypto: Option<&'a [u8]>,
}

/// Where to probe one library, and where its connection object keeps what is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Version text found in the image (`3.0.19`); for display only, it decides nothing.
    pub version: Option<String>,
    /// GNU build ID of the ssl image, lower-case hex.
    pub build_id: Option<String>,
    /// How the handshake drive was found.
    pub hook: Hook,
    /// Instructions of which exactly one runs when a drive of the state machine begins; the connection object is the first
    /// argument.
    pub entries: Vec<ProbePoint>,
    /// Instructions of which exactly one runs on every way out of a drive, once the state is final. A drive that ends before
    /// it does anything (a connection that had failed before) may pass none.
    pub exits: Vec<ProbePoint>,
    /// An instruction of `SSL_free` that runs once in each call; the connection object is the first argument.
    pub free: Option<ProbePoint>,
    /// The function of the crypto image (or the ssl image) through which each library error is raised.
    pub error: Option<ErrorProbe>,
    /// Where the connection object keeps what is read.
    pub fields: Fields,
    /// What each part of the plan rests on, for people: `(part, evidence)`.
    pub evidence: Vec<(&'static str, String)>,
}

/// How the handshake drive was found, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// The common body of `ossl_statem_accept` and `ossl_statem_connect`.
    StateMachine,
    /// The two functions in the method table, each with a body of its own.
    MethodTable,
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

/// Where library errors are raised: `ERR_vset_error` (3.0 and later) or `ERR_put_error` (1.1.1 and earlier).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ErrorProbe {
    /// An instruction of the function that runs once in each call, with its arguments in place.
    pub point: ProbePoint,
    /// The function is in the crypto image, not the ssl image.
    pub in_crypto: bool,
    /// Which argument (0-based) is the reason; argument 0 is the library number.
    pub reason_arg: u8,
}

/// Offsets of fields in the connection object (`SSL`/`SSL_CONNECTION`), bytes; `None` where not decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fields {
    /// `statem.state` (int): 0 uninitialised, 1 error, 2 reading, 3 writing, 4 finished.
    pub state: Option<u32>,
    /// `statem.hand_state` (int): 0 before, 1 `TLS_ST_OK`.
    pub hand_state: Option<u32>,
    /// `statem.in_init` (int).
    pub in_init: Option<u32>,
    /// `server` (int): 1 on the accepting side.
    pub server: Option<u32>,
    /// `version` (int): wire version, 0x0303 and so on.
    pub version: Option<u32>,
    /// `hit` (int): 1 where the session was resumed.
    pub hit: Option<u32>,
    /// `rbio` (pointer).
    pub rbio: Option<u32>,
    /// `wbio` (pointer).
    pub wbio: Option<u32>,
    /// `rwstate` (int), as `SSL_want` returns it.
    pub rwstate: Option<u32>,
    /// `s3.client_random` (32 bytes); `None` before 3.0, where `s3` is a separate object.
    pub client_random: Option<u32>,
    /// `BIO.flags` (int) in a BIO object, from the crypto image.
    pub bio_flags: Option<u32>,
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
    let ssl = Image::parse(images.ssl)?;
    let isa = isa::for_machine(ssl.machine)?;
    let isa = isa.as_ref();
    let mut evidence = Evidence::new();
    let crypto = match images.crypto.map(Image::parse) {
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
    let entries = statem::find(isa, &ssl, &mut evidence)?;
    let fields = fields::decode(isa, &ssl, crypto.as_ref().unwrap_or(&ssl), &mut evidence)?;

    let graph = Graph::walk(isa, &ssl, &entries.functions)?;
    let state: Vec<i64> = [fields.state, fields.hand_state, fields.in_init]
        .into_iter()
        .flatten()
        .map(i64::from)
        .collect();
    let exits = exits::choose(&graph, &entries.functions, &state)?;
    evidence.push(("exits", exits.evidence));
    let begin = begin(isa, &ssl, &graph, &entries)?;
    let mut end = Vec::new();
    for point in exits.points {
        let at = point.offset;
        end.push(ProbePoint {
            offset: ssl.file_offset(at).ok_or(NoPlan::Undecodable { at })?,
            ..point
        });
    }
    let free = ssl
        .symbol("SSL_free")
        .and_then(|at| start_of(isa, &ssl, at));
    let error = crypto
        .as_ref()
        .and_then(|image| error_probe(isa, image, true))
        .or_else(|| error_probe(isa, &ssl, false));
    Ok(Plan {
        version: crypto
            .as_ref()
            .and_then(|image| version::find(isa, image))
            .or_else(|| version::find(isa, &ssl)),
        build_id: ssl.build_id.clone(),
        hook: entries.hook,
        entries: begin,
        exits: end,
        free,
        error,
        fields,
        evidence,
    })
}

/// Where drives begin: in each function, or at the jumps to a common body if only those are cheap.
fn begin(
    isa: &dyn Isa,
    image: &Image<'_>,
    graph: &Graph,
    entries: &Entries,
) -> Result<Vec<ProbePoint>, NoPlan> {
    let points = |list: &[u64]| -> Result<Vec<ProbePoint>, NoPlan> {
        list.iter()
            .map(|at| point(isa, image, *at, 0).ok_or(NoPlan::Undecodable { at: *at }))
            .collect()
    };
    let inside: Vec<u64> = entries
        .functions
        .iter()
        .map(|function| statem::entry_point(isa, image, graph, *function, true).0)
        .collect();
    let (inside, jumps) = (points(&inside)?, points(&entries.jumps)?);
    let cheap =
        |points: &[ProbePoint]| !points.is_empty() && points.iter().all(|point| point.emulated);
    Ok(if !cheap(&inside) && cheap(&jumps) {
        jumps
    } else {
        inside
    })
}

/// The probe point of the instruction at `at`.
fn point(isa: &dyn Isa, image: &Image<'_>, at: u64, depth: i64) -> Option<ProbePoint> {
    let insn = isa.lift(image, at)?;
    let sp_delta = u32::try_from(depth.checked_neg()?).ok()?;
    Some(ProbePoint {
        offset: image.file_offset(at)?,
        sp_delta,
        emulated: insn.emulated,
    })
}

/// The probe point at which a call of `function` is seen with its arguments.
fn start_of(isa: &dyn Isa, image: &Image<'_>, function: u64) -> Option<ProbePoint> {
    let (at, depth) = match Graph::walk(isa, image, &[function]) {
        Ok(graph) => statem::entry_point(isa, image, &graph, function, false),
        // What cannot be followed can still be probed at its first instruction.
        Err(_) => (function, 0),
    };
    point(isa, image, at, depth)
}

/// The one function through which errors are raised (crypto/err/err_blocks.c from 3.0 on, crypto/err/err.c before).
fn error_probe(isa: &dyn Isa, image: &Image<'_>, in_crypto: bool) -> Option<ErrorProbe> {
    [("ERR_vset_error", 1), ("ERR_put_error", 2)]
        .iter()
        .find_map(|(function, reason_arg)| {
            let point = start_of(isa, image, image.symbol(function)?)?;
            Some(ErrorProbe {
                point,
                in_crypto,
                reason_arg: *reason_arg,
            })
        })
}
