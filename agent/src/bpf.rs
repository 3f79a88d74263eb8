//! Everything that uses aya: loads the BPF objects, attaches them, reads their events. A sensor
//! that fails does not stop the others; [`Status`](crate::status::Status) holds its reason.

mod bpf_log;
mod btf;
pub mod canary;
pub(crate) mod cgroup_watch;
mod clock;
mod error;
mod events;
pub(crate) mod features;
mod handshake;
mod hash_map;
mod load_retry;
pub(crate) mod mode_request;
pub(crate) mod netns;
mod object;
mod owner_fields;
mod program;
mod program_copies;
mod sensor_events;
mod sensors;
mod socket_scope;
mod tcp;
mod tracepoint;
mod uprobe_multi;
mod uprobes;
mod wire;

pub(crate) use self::{
    clock::now_ns,
    error::SensorError,
    handshake::HandshakeSensor,
    sensors::{Sensors, dry_run, tracepoints},
    wire::WireSensor,
};
