//! Why a file cannot be probed, in words an operator can act on.
//!
//! Returned by [`plan`](super::plan); its label is a metric's.

/// Why a file cannot be probed.
#[derive(Debug, thiserror::Error)]
pub enum NoPlan {
    /// The file is no 64-bit ELF file, or is cut short.
    #[error("failed to read the {step}: not a complete 64-bit ELF file")]
    NotElf {
        /// Part of the file.
        step: &'static str,
        /// What the ELF reader says.
        source: object::read::Error,
    },
    /// The file is for a machine whose code is not understood; the number is the ELF header's `e_machine`.
    #[error(
        "failed to choose a decoder: code for ELF machine {0} is not supported, only x86-64 and AArch64 are"
    )]
    Machine(u16),
    /// A function that every OpenSSL exports has no symbol: no TLS library.
    #[error(
        "failed to find {function}: no symbol of that name, and no method tables as OpenSSL 1.1.0 and later have them"
    )]
    NoSymbol {
        /// The function.
        function: &'static str,
    },
    /// The library is BoringSSL and has no names, and its handshake has no table by which it could be found.
    #[error(
        "failed to find SSL_do_handshake: this is BoringSSL with its symbols stripped, and nothing else shows where its handshakes are \
         driven; use a build that keeps its symbols, or one that links a shared BoringSSL"
    )]
    BoringSsl,
    /// The function that sets the handshake function does not take it from a method table.
    #[error(
        "failed to find the method table: {function} takes no handshake function from one, so not OpenSSL's design"
    )]
    MethodSlot {
        /// The function.
        function: &'static str,
    },
    /// Method tables hold no function to accept or to connect.
    #[error(
        "failed to find the handshake state machine: {tables} method tables name no function for each role"
    )]
    NoHandshakeFunction {
        /// Tables found.
        tables: usize,
    },
    /// A field without which no handshake can be told from another is not decodable.
    #[error(
        "failed to locate field {field}: {accessor} is absent or does not read it from the connection"
    )]
    Field {
        /// The field.
        field: &'static str,
        /// The function that was to tell.
        accessor: &'static str,
    },
    /// No function has a name, and the state machine itself does not tell where the state is.
    #[error(
        "failed to locate field state: no function has a name, and in the state machine at {at:#x} {why}"
    )]
    NamelessState {
        /// Virtual address of the state machine.
        at: u64,
        /// What was expected of it and is not so.
        why: &'static str,
    },
    /// Bytes that control reaches are no instruction.
    #[error("failed to follow the state machine: no instruction at {at:#x}")]
    Undecodable {
        /// Virtual address.
        at: u64,
    },
    /// The state machine is larger than any real one.
    #[error("failed to follow the state machine: more than {limit} instructions")]
    TooLarge {
        /// Instructions followed at most.
        limit: usize,
    },
    /// A computed jump whose table was not found hides part of the state machine.
    #[error(
        "failed to follow the state machine: the jump at {at:#x} has no table that can be read"
    )]
    UnresolvedJump {
        /// Virtual address.
        at: u64,
    },
    /// Control leaves with another stack pointer than it came with: the walk went astray.
    #[error(
        "failed to follow the state machine: the stack is not balanced where it returns at {at:#x}"
    )]
    UnbalancedStack {
        /// Virtual address.
        at: u64,
    },
    /// The state machine has no way out that could be probed.
    #[error("failed to find the end of a handshake drive: no return that can be probed")]
    NoExit,
}

impl NoPlan {
    /// Label for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotElf { .. } => "not_elf",
            Self::Machine(_) => "machine",
            Self::NoSymbol { .. } => "no_symbol",
            Self::BoringSsl => "boringssl",
            Self::MethodSlot { .. } => "method_slot",
            Self::NoHandshakeFunction { .. } => "no_handshake_function",
            Self::Field { .. } => "field",
            Self::NamelessState { .. } => "nameless_state",
            Self::Undecodable { .. } => "undecodable",
            Self::TooLarge { .. } => "too_large",
            Self::UnresolvedJump { .. } => "unresolved_jump",
            Self::UnbalancedStack { .. } => "unbalanced_stack",
            Self::NoExit => "no_exit",
        }
    }
}
