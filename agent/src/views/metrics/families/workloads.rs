//! Families per workload.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{count, counter};
use reprise_core::model::{Resumption, Role};
use reprise_core::pipeline::stats::{Stats, WorkloadSums};

/// Name and port shown for the workloads that are not named.
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
    let mut show = |workload: &str, port: &str, role: Role, sums: &WorkloadSums| {
        for resumption in Resumption::ALL {
            let labels = [
                ("workload", workload),
                ("port", port),
                ("role", role.label()),
                ("resumption", resumption.label()),
            ];
            let sum = sums[resumption as usize];
            if resumption.shows(sum) {
                count(&mut family, &labels, sum)?;
            }
        }
        Ok(())
    };
    for (key, sums) in stats.workloads.named() {
        show(&key.workload, &key.port.to_string(), key.role, sums)?;
    }
    for role in Role::ALL {
        let sums = &stats.workloads.other()[role as usize];
        if *sums != WorkloadSums::default() {
            show(OTHER, OTHER, role, sums)?;
        }
    }
    Ok(())
}
