//! Harness of the behaviour tests: real TLS servers and clients, the agent, and the ground truth
//! that it is compared with.
//!
//! The tests run as root. Each has a cgroup of its own, to which its agents are restricted, so that
//! several tests run side by side; those in `alone` do not. Results are polled with a deadline; no
//! test sleeps for a fixed time. Expected numbers come from the client's or the server's own
//! report.

pub mod agent;
pub mod alone;
pub mod api_server;
pub mod binary;
pub mod bpf;
pub mod browser;
pub mod cache;
pub mod capture;
pub mod carriers;
pub mod certificates;
pub mod cgroup;
pub mod client;
pub mod container;
pub mod failure;
pub mod faketime;
pub mod fleet;
pub mod haproxy_socket;
pub mod host;
pub mod host_lock;
pub mod http;
pub mod kernel_maps;
pub mod libssl;
pub mod lossy;
pub mod manifests;
pub mod matrix;
pub mod metrics;
pub mod mounts;
pub mod namespaces;
pub mod offers;
pub mod orphans;
pub mod own_cgroup;
pub mod poll;
pub mod ports;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod readiness;
pub mod recording;
pub mod relay;
pub mod requirements;
pub mod returning;
pub mod rustls_pair;
pub mod s_client;
pub mod servers;
pub mod terminal;
pub mod testbed;
pub mod truth;
pub mod user;

pub use agent::Agent;
pub use client::{Client, Report};
pub use metrics::Metrics;
pub use servers::Server;
