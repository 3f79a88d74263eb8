//! Scope of the observation.

use std::path::PathBuf;

use crate::{
    host::{ObservedCgroup, pods::Pods},
    status::BpfMode,
};
use reprise_core::pipeline::wire;

/// What is observed on the host, and the bounds of incomplete observations.
#[derive(Debug, Clone)]
pub(in crate::commands) struct Scope {
    /// Library files below these paths are not observed.
    pub(in crate::commands) ignored: Vec<PathBuf>,
    /// Files that processes with executables below these paths map are not probed.
    pub(in crate::commands) excluded: Vec<PathBuf>,
    /// Only processes and sockets in this cgroup and below it are observed; `None` for the whole
    /// host.
    pub(in crate::commands) cgroup: Option<ObservedCgroup>,
    /// Mode of the programs.
    pub(in crate::commands) mode: BpfMode,
    /// Bounds of the `wire` sensor.
    pub(in crate::commands) first_flights: wire::Limits,
    /// Known pods of this node.
    pub(in crate::commands) pods: Pods,
}
