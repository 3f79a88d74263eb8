//! Body of `/api/v1/networks`: networks of clients that abandoned handshakes with services here.

use serde::Serialize;

use crate::{observed::Observed, views::owner::OwnerRow};
use reprise_core::pipeline::stats::ServicePort;

/// A network, since its first abandoned handshake.
#[derive(Debug, Serialize)]
pub(super) struct NetworkRow {
    /// Its address and prefix length.
    network: String,
    /// Handshakes that the client ended, or in which it went silent.
    abandoned: u64,
    /// Abandoned handshakes without a whole ClientHello.
    without_hello: u64,
    completed: u64,
    /// Time since the newest abandoned handshake.
    seconds_ago: f64,
    /// Port of the service of that handshake; null where it has no name of its own.
    port: Option<u16>,
    /// Owner of that service.
    #[serde(flatten)]
    owner: OwnerRow,
}

/// The networks, those with the most abandoned handshakes first.
pub(super) fn networks(observed: &Observed) -> Vec<NetworkRow> {
    let now_ns = observed.pipeline.now_ns();
    let ranked = observed.pipeline.stats.networks.ranked().into_iter();
    ranked
        .map(|(key, sums)| NetworkRow {
            network: key.network.to_string(),
            abandoned: sums.abandoned,
            without_hello: sums.without_hello,
            completed: sums.completed,
            seconds_ago: now_ns.saturating_sub(sums.last_ns) as f64 / 1e9,
            port: match sums.service.port {
                ServicePort::Number(port) => Some(port),
                ServicePort::Ephemeral | ServicePort::Unknown => None,
            },
            owner: OwnerRow::from(&*sums.service.owner),
        })
        .collect()
}
