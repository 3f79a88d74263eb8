//! Vocabulary shared by every layer: one noun per file, plain values, no behaviour beyond what
//! follows from the value itself. Sensors' records are decoded into these types once, by
//! `pipeline::event`.

mod alert;
mod cause;
mod cgroup;
mod change;
mod connection;
mod connection_end;
mod direction;
mod early_data;
mod evidence;
mod handshake;
mod hello;
mod labels;
mod listener;
mod mechanism;
mod miss;
mod miss_reason;
mod namespace;
mod network;
mod observation;
mod offer;
mod outcome;
mod owner;
mod phase;
mod removal;
mod resumption;
mod retransmits;
mod role;
mod service;
mod session;
mod surge;
mod tcp;
mod token;
mod version;

pub use self::{
    alert::{Alert, AlertAfterCompletion},
    cause::FailureCause,
    cgroup::CgroupId,
    change::{Change, ChangeDetail, ChangeKind},
    connection::{Connection, End},
    connection_end::{ConnectionClosed, ConnectionEnd},
    direction::Direction,
    early_data::EarlyDataOutcome,
    evidence::Evidence,
    handshake::{
        LibraryEnd, LibraryHandshake, ReleasedSession, SocketSource, WireEnd, WireHandshake,
    },
    hello::{ClientRandom, HelloFacts, HelloFlags, MAX_IDENTITIES},
    listener::{ListenerChange, ListenerOwner},
    mechanism::Mechanism,
    miss::Miss,
    miss_reason::MissReason,
    namespace::NetworkNamespace,
    network::NetworkEvidence,
    observation::{LibraryFacts, Observation, OfferOutcome, Source},
    offer::Offer,
    outcome::Outcome,
    owner::Owner,
    phase::Phase,
    removal::{Removal, RemovalContext, SessionRemoved},
    resumption::Resumption,
    retransmits::Retransmits,
    role::Role,
    service::{ServiceFacts, ServiceId},
    session::{Lookup, SessionAge, SessionFacts},
    surge::{ClientKind, Surge, Suspicion},
    tcp::{TcpEvent, TcpEventKind},
    token::{KeyName, Token},
    version::Version,
};
