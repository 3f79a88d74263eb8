//! The behaviour tests, one module per subject, in one binary so that it is linked once.
//!
//! `.config/nextest.toml` lists the modules that may run in parallel; the others count every TLS
//! handshake on the host and run one at a time.

mod abandoned;
mod advice;
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
mod hooks;
mod hostile;
mod http_attack;
mod kernel_events;
mod kernel_tables;
mod kernels;
mod killed;
mod libraries;
mod lifecycle;
mod long_watch;
mod loss;
mod loss_random;
mod loss_sessions;
mod manifests;
mod memory_bios;
mod miss_reports;
mod misses;
mod network_namespaces;
mod offers;
mod operator;
mod page;
mod peers;
mod pods;
mod privilege;
mod programs;
mod ready_made;
mod reasons;
mod record;
mod repeated_randoms;
mod resumption;
mod rules;
mod slow_link;
mod stalls;
mod start_up;
mod systemd;
mod watch;
mod web_config;
mod wire;
mod workloads;
