//! The behaviour tests, one module per subject, in one binary so that it is linked once.
//!
//! `.config/nextest.toml` names the modules that run beside others; the remaining tests count every
//! TLS handshake on the host and run one at a time.

mod api;
mod browser;
mod canary;
mod causes;
mod chart;
mod check;
mod coverage;
mod dashboards;
mod dist;
mod docs;
mod failures;
mod harness;
mod hello;
mod hooks;
mod kernel_events;
mod kernels;
mod killed;
mod libraries;
mod lifecycle;
mod loss;
mod loss_random;
mod loss_sessions;
mod manifests;
mod misses;
mod operator;
mod page;
mod patience;
mod peers;
mod pods;
mod privilege;
mod programs;
mod ready_made;
mod reasons;
mod record;
mod resumption;
mod rules;
mod systemd;
mod watch;
mod web_config;
mod wire;
mod workloads;
