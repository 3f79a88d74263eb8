//! Properties of this host and its processes. `run`, `watch` and `record` check the requirements
//! before they load anything, so that the error names the missing requirement instead of a failed
//! system call; `check` reports all of them.

pub(crate) mod capability;
pub mod cgroup;
pub(crate) mod cgroups;
pub(crate) mod clock;
pub(crate) mod confine;
mod descriptors;
pub mod discover;
pub(crate) mod listeners;
pub(crate) mod lockdown;
pub(crate) mod memory_lock;
mod observed_cgroup;
pub(crate) mod pods;
pub(crate) mod private_mount;
pub(crate) mod privilege;
mod proc_link;
mod process;
mod requirements;
mod socket_tables;
pub(crate) mod tracefs;
pub(crate) mod tracefs_mount;
pub(crate) mod workloads;

pub(crate) use self::{
    descriptors::DescriptorLimit,
    observed_cgroup::ObservedCgroup,
    process::{HostProcesses, ProcessStart},
    requirements::{MissingRequirement, check_permission, prepare},
};
