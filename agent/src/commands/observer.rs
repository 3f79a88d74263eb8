//! The observer of this host, used by `run`, `watch` and `record`: from event buffers to the
//! pipeline and the recording, and from discovered libraries to probes.

mod discovery;
mod error;
mod libraries;
mod listeners;
mod log;
mod peer_evictions;
mod reader;
mod run;
mod scope;
mod sink;

pub(super) use self::{error::ObserveError, run::Observer, scope::Scope};
