//! Why a file cannot be probed.
//!
//! Returned by [`plan`](super::plan()) and shown to operators; the label is a metric's.

use super::work::Exhausted;

/// Why a file cannot be probed.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum PlanError {
    /// The file is not a 64-bit ELF file, or is truncated.
    #[error("failed to read the {step}: not a complete 64-bit ELF file")]
    NotElf {
        /// Part of the file.
        step: &'static str,
        /// Error of the ELF reader.
        source: object::read::Error,
    },
    /// The file is for an unsupported machine; the number is the ELF header's `e_machine`.
    #[error(
        "failed to choose a decoder: code for ELF machine {0} is not supported, only x86-64 and \
         AArch64 are"
    )]
    Machine(u16),
    /// The file has more loaded segments than any linker writes.
    #[error("failed to read the program headers: more than {limit} loaded segments")]
    TooManySegments {
        /// Limit of segments.
        limit: usize,
    },
    /// The file costs more work than any known library.
    #[error(
        "failed to plan within the limit of work: the file is larger or more intricate than any \
         known library"
    )]
    TooMuchWork,
    /// The caller's limit of CPU time was exceeded.
    #[error("failed to plan within the limit of CPU time")]
    TooMuchTime,
    /// A function that every OpenSSL exports has no symbol: the file holds no TLS library.
    #[error(
        "failed to find {function}: no symbol of that name, and no method tables as OpenSSL 1.1.0 \
         and later have them"
    )]
    NoSymbol {
        /// The function.
        function: &'static str,
    },
    /// The library is BoringSSL without symbols, which has no table of handshake functions.
    #[error(
        "failed to find SSL_do_handshake: this is BoringSSL with its symbols stripped, and nothing \
         else shows where its handshakes are driven; use a build that keeps its symbols, or one \
         that links a shared BoringSSL"
    )]
    #[strum(serialize = "boringssl")]
    BoringSsl,
    /// The function that sets the handshake function does not read it from a method table.
    #[error(
        "failed to find the method table: {function} takes no handshake function from one, so not \
         OpenSSL's design"
    )]
    MethodSlot {
        /// The function.
        function: &'static str,
    },
    /// The method tables hold no function to accept or to connect.
    #[error(
        "failed to find the handshake state machine: {tables} method tables name no function for \
         each role"
    )]
    NoHandshakeFunction {
        /// Tables found.
        tables: usize,
    },
    /// A field that is needed to distinguish handshakes cannot be decoded.
    #[error(
        "failed to locate field {field}: {accessor} is absent or does not read it from the \
         connection"
    )]
    Field {
        /// The field.
        field: &'static str,
        /// The function from which it is decoded.
        accessor: &'static str,
    },
    /// The library has no symbols, and the state machine's code does not show its state.
    #[error(
        "failed to locate field state: no function has a name, and in the state machine at \
         {at:#x} {why}"
    )]
    #[strum(serialize = "nameless_state")]
    StrippedState {
        /// Virtual address of the state machine.
        at: u64,
        /// The expectation that failed.
        why: &'static str,
    },
    /// Control reaches bytes that are not an instruction.
    #[error("failed to follow the state machine: no instruction at {at:#x}")]
    Undecodable {
        /// Virtual address.
        at: u64,
    },
    /// The state machine is larger than any known one.
    #[error("failed to follow the state machine: more than {limit} instructions")]
    TooLarge {
        /// Limit of instructions.
        limit: usize,
    },
    /// A computed jump without a known table hides part of the state machine.
    #[error(
        "failed to follow the state machine: the jump at {at:#x} has no table that can be read"
    )]
    UnresolvedJump {
        /// Virtual address.
        at: u64,
    },
    /// The stack pointer at a return differs from that at entry: the walk decoded wrong code.
    #[error(
        "failed to follow the state machine: the stack is not balanced where it returns at {at:#x}"
    )]
    UnbalancedStack {
        /// Virtual address.
        at: u64,
    },
    /// The state machine has more entries and exits than any known one.
    #[error("failed to find the end of a handshake drive: more than {limit} points to probe")]
    TooManyPoints {
        /// Limit of points.
        limit: usize,
    },
    /// No exit path of the state machine can be probed.
    #[error("failed to find the end of a handshake drive: no return that can be probed")]
    NoExit,
}

impl From<Exhausted> for PlanError {
    fn from(exhausted: Exhausted) -> Self {
        match exhausted {
            Exhausted::Work => Self::TooMuchWork,
            Exhausted::Time => Self::TooMuchTime,
        }
    }
}

impl PlanError {
    /// Label for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.into()
    }
}
