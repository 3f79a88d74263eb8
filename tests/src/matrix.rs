//! Matrix of servers, kinds of session and faults. Each cell stages one fault with its own server.
//! Clients count the sessions that they missed, and the fault is the reason that the agent has to
//! report.

mod apache;
mod cell;
mod erlang;
mod haproxy;
mod mbedtls;
mod mosquitto;
mod nginx;
mod node;
mod outcome;
mod python;
mod run;
mod s_server;
mod scenario;
mod setup;
mod stunnel;
mod target;
mod web_workers;
mod wire;

pub use apache::Apache;
pub use cell::{Cell, Fault, Kind};
pub use erlang::Erlang;
pub use haproxy::HaProxy;
pub use mbedtls::MbedTls;
pub use mosquitto::Mosquitto;
pub use nginx::Nginx;
pub use node::Node;
pub use python::{Asyncio, Threads};
pub use run::assert_reasons;
pub use s_server::SServer;
pub use scenario::{ClientCounts, run as count_clients};
pub use stunnel::Stunnel;
pub use target::Target;
pub use web_workers::{Gunicorn, Uvicorn};
pub use wire::{GnuTls, Go, Java, Rustls};
