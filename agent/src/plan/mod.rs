//! The probe planner: ELF bytes in, probe plan out.
//!
//! Pure: called by `sensors::handshake` (and `reprise inspect`) with the bytes of the very file that will be probed. It
//! never opens a file, never looks at a version to decide anything, and never panics on hostile input.

/// Bytes of the files a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// The file that holds the TLS state machine (`libssl.so.3`).
    pub ssl: &'a [u8],
    /// The file that holds BIO and error queue (`libcrypto.so.3`), when it is another one.
    pub crypto: Option<&'a [u8]>,
}

/// Where to probe one library, and where its connection object keeps what is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Version text found in the image (`3.0.19`); for display only, it decides nothing.
    pub version: Option<String>,
    /// GNU build ID of the ssl image, lower-case hex.
    pub build_id: Option<String>,
    /// How the handshake drive was found.
    pub hook: Hook,
    /// Instructions at which a drive of the state machine begins; the connection object is the first argument.
    pub entries: Vec<ProbePoint>,
    /// Instructions of which exactly one runs on every way out of a drive, once the state is final.
    pub exits: Vec<ProbePoint>,
    /// First instruction of `SSL_free`; the connection object is the first argument.
    pub free: Option<ProbePoint>,
    /// The function of the crypto image (or the ssl image) through which each library error is raised.
    pub error: Option<ErrorProbe>,
    /// Where the connection object keeps what is read.
    pub fields: Fields,
    /// What each part of the plan rests on, for people: `(part, evidence)`.
    pub evidence: Vec<(&'static str, String)>,
}

/// How the handshake drive was found, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// The common body of `ossl_statem_accept` and `ossl_statem_connect`.
    StateMachine,
    /// The two functions in the method table, each with a body of its own.
    MethodTable,
}

/// One instruction to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbePoint {
    /// Offset of the instruction in the file, bytes: what the kernel attaches to.
    pub offset: u64,
    /// Stack pointer at function entry minus stack pointer here, bytes: joins an exit to its entry. 0 at entries and at `ret`.
    pub sp_delta: u32,
    /// The kernel emulates this instruction (`push`, `nop`, `call`, jumps) instead of single-stepping a copy: a tenth of the cost.
    pub emulated: bool,
}

/// Where library errors are raised: `ERR_vset_error` (3.0 and later) or `ERR_put_error` (1.1.1 and earlier).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorProbe {
    /// First instruction of the function.
    pub point: ProbePoint,
    /// The function is in the crypto image, not the ssl image.
    pub in_crypto: bool,
    /// Which argument (0-based) is the reason; argument 0 is the library number.
    pub reason_arg: u8,
}

/// Offsets of fields in the connection object (`SSL`/`SSL_CONNECTION`), bytes; `None` where not decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// `s3.client_random` (32 bytes).
    pub client_random: Option<u32>,
    /// `BIO.flags` (int) in a BIO object, from the crypto image.
    pub bio_flags: Option<u32>,
}
