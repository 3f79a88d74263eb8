//! A probe plan: where to probe one library, and where its objects hold the fields that are read.
//!
//! Created by [`plan`](super::plan()). The handshake sensor attaches the probe points and hands
//! the fields to the BPF programs; `reprise inspect` prints the plan.

use std::collections::BTreeMap;

use serde::Serialize;

use super::evidence::Evidence;
use super::field::Field;

/// Probe points of one library, and the layout of its objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Version text found in the image (`3.0.19`). For display: no decision depends on it.
    pub version: Option<String>,
    /// GNU build ID of the ssl image, lower-case hex.
    pub build_id: Option<String>,
    /// Machine of the code, by Rust's name (`x86_64`, `aarch64`).
    pub machine: &'static str,
    /// How the handshake drive was found.
    pub hook: Hook,
    /// The second argument of the probed function is the role at each entry: not 0 on the
    /// accepting side.
    pub role_in_argument: bool,
    /// Instructions of which exactly one runs when a drive of the state machine begins. The
    /// connection object is the first argument.
    pub entries: Vec<ProbePoint>,
    /// Instructions of which exactly one runs on every exit path of a drive, once the state is
    /// final. A drive that ends before it does anything (on a connection that had failed before)
    /// may pass none.
    pub exits: Vec<ProbePoint>,
    /// An instruction of `SSL_free` that runs once in each call. The connection object is the
    /// first argument.
    pub free: Option<ProbePoint>,
    /// Where library errors are observed.
    pub error: Option<ErrorProbe>,
    /// Layout of the connection object.
    pub fields: Fields,
    /// Layout of the session object, and where sessions end.
    pub session: Session,
    /// Names of the library's error reasons, by number.
    #[serde(skip)]
    pub reasons: BTreeMap<u32, String>,
    /// Source of the handshake state's location.
    pub basis: Basis,
    /// What each part of the plan is based on, for people: `(part, evidence)`.
    pub evidence: Evidence,
}

/// How the handshake drive was found, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// The common body of `ossl_statem_accept` and `ossl_statem_connect`.
    StateMachine,
    /// The functions in the method tables, each with a body of its own. In 1.0.2 one of them may
    /// run inside another one with the same connection object (`ssl23_accept` calls
    /// `ssl3_accept`), with another stack pointer.
    MethodTable,
    /// The exported function `SSL_do_handshake`, and `SSL_accept` and `SSL_connect` where they do
    /// not call it. All exits are returns.
    DoHandshake,
}

/// Source of the handshake state's location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Basis {
    /// Exported accessors.
    ExportedAccessors,
    /// The state machine's own code, since the accessors have no symbols.
    StateMachine,
}

impl Basis {
    /// Label value.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// One instruction to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProbePoint {
    /// Offset of the instruction in the file, bytes: what the kernel attaches to.
    pub offset: u64,
    /// Stack pointer at function entry minus stack pointer here, bytes: joins an exit to its
    /// entry. 0 at entries and at `ret`; any number at `free` and `error`, which are joined to
    /// nothing.
    pub sp_delta: u32,
    /// The kernel emulates this instruction (`push`, `nop`, `call`, jumps) instead of
    /// single-stepping a copy, at a tenth of the cost.
    pub emulated: bool,
}

/// Where library errors are raised: `ERR_set_error` and `ERR_vset_error` (3.0 and later) or
/// `ERR_put_error` (1.1.1 and earlier).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorProbe {
    /// Instructions of which exactly one runs in each call, with its arguments in place: the jumps
    /// of linkage stubs, or one in the function itself.
    pub points: Vec<ProbePoint>,
    /// The points are in the crypto image, not the ssl image.
    pub in_crypto: bool,
    /// Index (0-based) of the argument that is the reason; argument 0 is the library number.
    pub reason_arg: u8,
}

/// Layout of the connection object; `None` where not decoded. The handshake state is in one of
/// three groups: `state`, `hand_state` and `in_init`; `legacy_state`; `handshake` and `step`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fields {
    /// `statem.state` (int): 0 uninitialised, 1 error, 2 reading, 3 writing, 4 finished.
    pub state: Option<Field>,
    /// `statem.hand_state` (int): 0 before, 1 `TLS_ST_OK`.
    pub hand_state: Option<Field>,
    /// `statem.in_init` (int).
    pub in_init: Option<Field>,
    /// `state` (int) of OpenSSL 1.0.2 and of LibreSSL. Values (include/openssl/ssl.h and ssl3.h of
    /// 1.0.2): 0x6000 (accepting) and 0x5000 (connecting) before a handshake, 3 `SSL_ST_OK` after
    /// it, 0x3004 where it is to be repeated, 0x3005 `SSL_ST_ERR`; any other number is a step of a
    /// running handshake.
    pub legacy_state: Option<Field>,
    /// `s3->hs` (pointer) of BoringSSL: null unless a handshake runs.
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
    /// `client_random` (32 bytes): in the connection object from 3.0 on, behind its pointer `s3`
    /// before.
    pub client_random: Option<Field>,
    /// `BIO.flags` (int) in a BIO object, from the crypto image: offset, bytes.
    pub bio_flags: Option<u32>,
    /// `shutdown` (int), as `SSL_get_shutdown` returns it: 1 sent, 2 received.
    pub shutdown: Option<Field>,
}

/// Layout of the session object, and where sessions end. Offsets are in bytes; `None` where not
/// decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Pointer to the session, in the connection object.
    pub pointer: Option<Field>,
    /// `time`, eight bytes: seconds, from 3.2 on nanoseconds (`OSSL_TIME`,
    /// include/internal/time.h).
    pub time: Option<u32>,
    /// `timeout`, in the unit of `time`.
    pub timeout: Option<u32>,
    /// `session_id`, 32 bytes.
    pub id: Option<u32>,
    /// `session_id_length`, of which four bytes are read.
    pub id_length: Option<u32>,
    /// The calls by which a server releases a session that it looked up and rejected; empty unless
    /// all of them are known. The session is the first argument.
    #[serde(rename = "turned_down")]
    pub rejections: Vec<ProbePoint>,
    /// An instruction of `SSL_CTX_remove_session` that runs once in each call. The session is the
    /// second argument.
    pub removal: Option<ProbePoint>,
}

impl Session {
    /// Offsets of start time and lifetime, if both are known.
    #[must_use]
    pub fn age(&self) -> Option<(u32, u32)> {
        self.time.zip(self.timeout)
    }
}
