//! The `reprise_*` families: names, help texts, labels and the sources of their values.

mod agent;
pub(super) mod encode;
mod handshakes;
mod misses;
mod offers;
mod peers;
mod workloads;

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use crate::{observed::Observed, status::Sensor};

/// Encodes every family whose sensor is attached.
pub(super) fn encode(
    observed: &Observed,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let Observed { pipeline, status } = observed;
    let stats = &pipeline.stats;
    let wire = status.sensor(Sensor::Wire).attached;
    if status.observes_handshakes() {
        handshakes::handshakes(stats, encoder)?;
        handshakes::errors(stats, &status.reasons, encoder)?;
        if status.sensor(Sensor::Handshake).attached {
            handshakes::alerts_after_completion(stats, encoder)?;
        }
        if wire {
            offers::offers(stats, encoder)?;
            misses::misses(stats, encoder)?;
            if status.sensor(Sensor::Handshake).attached {
                misses::removals(pipeline, encoder)?;
            }
        }
        workloads::workloads(stats, encoder)?;
        let rows = peers::rows(stats);
        peers::peers(&rows, stats, pipeline.now_ns(), encoder)?;
        if wire {
            misses::peers(&rows, encoder)?;
        }
        if status.sensor(Sensor::Tcp).attached {
            handshakes::loss(stats, wire, encoder)?;
        }
    }
    agent::agent(observed, encoder)?;
    agent::tables(observed, encoder)
}
