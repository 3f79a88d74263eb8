//! Owners of processes, from the path of a control group, the metadata of a pod and the name of the
//! process. Pure: the texts are arguments, and the result is a record, so that a replay has it too.

mod event;
mod placement;
mod pod;
mod process;

pub use self::{
    event::{WORKLOAD, WorkloadEvent},
    placement::Placement,
    pod::{Controller, Pod},
    process::process_name,
};
