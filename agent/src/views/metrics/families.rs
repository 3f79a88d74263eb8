//! The `reprise_*` families: names, help texts, labels and the sources of their values.

mod agent;
pub(super) mod encode;
mod handshakes;
mod misses;
mod offers;
mod peers;
mod service_caches;
mod service_clients;
mod services;

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use crate::{
    observed::{Observed, Shared},
    status::Sensor,
};

/// Encodes every family whose sensor is attached. The lock is held for the families of bounded size
/// only; the peers are read in slices.
pub(super) fn encode(
    shared: &Shared,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut show_peers = false;
    {
        let observed = shared.lock();
        if observed.status.observes_handshakes() {
            totals(&observed, encoder)?;
            show_peers = true;
        }
    }
    if show_peers {
        let rows = peers::rows(shared);
        peers::peers(&rows, encoder)?;
        if shared.lock().status.sensor(Sensor::Wire).attached {
            misses::peers(&rows, encoder)?;
            offers::peers(&rows, encoder)?;
        }
    }
    let observed = shared.lock();
    let status = &observed.status;
    if show_peers && status.sensor(Sensor::Tcp).attached {
        let wire = status.sensor(Sensor::Wire).attached;
        handshakes::loss(&observed.pipeline.stats, wire, encoder)?;
        handshakes::lifetimes(&observed.pipeline.stats, encoder)?;
    }
    agent::agent(&observed, encoder)?;
    agent::tables(&observed, encoder)
}

fn totals(observed: &Observed, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let Observed { pipeline, status } = observed;
    let stats = &pipeline.stats;
    let handshake = status.sensor(Sensor::Handshake).attached;
    handshakes::handshakes(stats, encoder)?;
    handshakes::errors(stats, &status.reasons, encoder)?;
    if handshake {
        handshakes::alerts_after_completion(stats, encoder)?;
    }
    if status.sensor(Sensor::Wire).attached {
        offers::offers(stats, encoder)?;
        misses::misses(stats, encoder)?;
        if handshake {
            misses::removals(pipeline, encoder)?;
            misses::changes(pipeline, encoder)?;
        }
    }
    let wire = status.sensor(Sensor::Wire).attached;
    services::services(stats, wire, encoder)?;
    service_clients::service_clients(pipeline, encoder)?;
    if wire {
        service_caches::service_caches(observed, encoder)?;
    }
    Ok(())
}
