//! Layout of a library's objects: where the programs find the fields that they read.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Location of a field: in the connection object, or behind up to two pointers from there.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Field {
    /// Offsets of the pointers to follow, beginning in the connection object; [`crate::ABSENT`]
    /// where there are fewer.
    pub through: [u32; 2],
    /// Offset of the field in the last pointer's target, bytes; [`crate::ABSENT`] where unknown.
    pub offset: u32,
    /// Mask of the field in the four bytes there; unused where it is a pointer or longer.
    pub mask: u32,
}

impl Field {
    /// An unknown field.
    pub const UNKNOWN: Self = Self {
        through: [crate::ABSENT; 2],
        offset: crate::ABSENT,
        mask: 0,
    };
}

/// Object layout and properties of one library.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Layout {
    /// State of the handshake, in the form of the [`family`].
    pub state: Field,
    /// `statem.hand_state`, of [`family::STATE_MACHINE`].
    pub hand_state: Field,
    /// `statem.in_init`, of [`family::STATE_MACHINE`].
    pub in_init: Field,
    /// Pointer to the handshake object, of [`family::HANDSHAKE_OBJECT`].
    pub handshake: Field,
    /// Not 0 on the accepting side.
    pub server: Field,
    /// Version on the wire.
    pub version: Field,
    /// Not 0 where the session was resumed.
    pub hit: Field,
    /// Pointer to the BIO that is read from.
    pub rbio: Field,
    /// Pointer to the BIO that is written to.
    pub wbio: Field,
    /// Operation that the last call waits for.
    pub rwstate: Field,
    /// The client's random, 32 bytes.
    pub client_random: Field,
    /// Pointer to the session.
    pub session: Field,
    /// Bits of [`super::shutdown`].
    pub shutdown: Field,
    /// Fields of a session.
    pub session_fields: SessionFields,
    /// Offset of `flags` in the BIO object; [`crate::ABSENT`] where not known.
    pub bio_flags: u32,
    /// A constant of [`family`].
    pub family: u32,
    /// Bit set of the values of `rwstate` at which the program must act before the handshake
    /// continues.
    pub wants: u32,
    /// Bits of [`hook`].
    pub hook: u32,
}

/// Offsets of the fields of a session, bytes; [`crate::ABSENT`] where unknown.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SessionFields {
    /// Time of creation, eight bytes.
    pub time: u32,
    /// Lifetime, eight bytes.
    pub timeout: u32,
    /// Session ID, 32 bytes.
    pub id: u32,
    /// Length of the ID; four bytes are read.
    pub id_length: u32,
}

/// How a library represents the state of a handshake.
pub mod family {
    /// `statem` of OpenSSL 1.1.0 and later.
    pub const STATE_MACHINE: u32 = 0;
    /// One state number: OpenSSL 1.0.2 and LibreSSL.
    pub const ONE_NUMBER: u32 = 1;
    /// BoringSSL: an object that exists during the handshake; its state is 0 before the first step.
    pub const HANDSHAKE_OBJECT: u32 = 2;
}

/// Properties of the probed function, as bits.
pub mod hook {
    /// Its second argument is the role: not 0 on the accepting side.
    pub const ROLE_IN_ARGUMENT: u32 = 1;
    /// Its exits are returns: the result is in its register there.
    pub const RETURNS: u32 = 2;
    /// `SSL_SESSION_free` is probed: sessions that the server looked up and rejected are observed.
    pub const LOOKUPS: u32 = 4;
}

const _: () = assert!(size_of::<Field>() == 16);
const _: () = assert!(size_of::<Layout>() == 240);
