//! Families per workload.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::encode::{count, counter};
use reprise_core::{
    model::Role,
    pipeline::stats::{Stats, WorkloadSums},
};

/// Name and port shown for the workloads without sums of their own.
const OTHER: &str = "other";

pub(super) fn workloads(
    stats: &Stats,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_workload_handshakes",
        "Completed TLS handshakes per container, systemd unit or process, and the server's port.",
        None,
    )?;
    let mut encode = |workload: &str, port: &str, role: Role, sums: &WorkloadSums| {
        for (resumption, sum) in sums {
            let labels = [
                ("workload", workload),
                ("port", port),
                ("role", role.label()),
                ("resumption", resumption.label()),
            ];
            if resumption.shows(*sum) {
                count(&mut family, &labels, *sum)?;
            }
        }
        Ok(())
    };
    for (key, sums) in stats.workloads.named() {
        encode(
            &key.owner.to_string(),
            &key.port.to_string(),
            key.role,
            sums,
        )?;
    }
    for (role, sums) in stats.workloads.other() {
        if sums.values().any(|sum| *sum > 0) {
            encode(OTHER, OTHER, role, sums)?;
        }
    }
    Ok(())
}
