//! The HTTP server: metrics, health, JSON and a page. It has a thread of its own, apart from the
//! observing loop. Everything is bounded: connections, their time and their buffers, the rate of
//! renderings, and their memory. A slow or hostile client affects other clients little and the
//! observation not at all.

mod body;
mod client_network;
mod connections;
mod document;
mod documents;
mod failures;
mod hosts;
mod networks;
mod overview;
mod peer;
mod peers;
mod rendering;
mod response;
mod routes;
mod server;
mod status;
#[cfg(test)]
mod test_server;
mod thread;
mod web_config;
mod write_timeout;

pub use self::{
    hosts::AllowedHosts,
    server::{AccessRules, bind},
    thread::{HttpThread, start},
    web_config::{WebConfig, WebConfigError},
};
