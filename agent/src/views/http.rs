//! The HTTP server: metrics, health, JSON and a page. It shares the thread of the observing loop,
//! so every response is short, and connections are bounded in number and time: a slow or hostile
//! client costs one of them and never delays observation.

mod connections;
mod failures;
mod overview;
mod peer;
mod peers;
mod response;
mod routes;
mod server;
mod status;
mod web_config;

pub use self::{
    server::{bind, serve},
    web_config::{WebConfig, WebConfigError},
};
