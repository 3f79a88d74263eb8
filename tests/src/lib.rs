//! Harness of the behaviour tests: real TLS servers and clients, the agent, and the truth it is
//! held to.
//!
//! Called by `tests/*.rs` only, as root and one test at a time (the agent observes the whole host).
//! Never sleeps for a result: whatever takes time is polled with a deadline. Never takes the
//! agent's word: what is expected comes from the client's or the server's own report.

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
pub mod demanding;
pub mod failure;
pub mod fleet;
pub mod host;
pub mod http;
pub mod libssl;
pub mod lossy;
pub mod manifests;
pub mod matrix;
pub mod metrics;
pub mod mounts;
pub mod namespaces;
pub mod offers;
pub mod orphans;
pub mod poll;
pub mod ports;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod readiness;
pub mod relay;
pub mod rustls_pair;
pub mod s_client;
pub mod servers;
pub mod stage;
pub mod terminal;
pub mod truth;
pub mod user;

pub use agent::Agent;
pub use client::{Client, Report};
pub use metrics::Metrics;
pub use servers::Server;
