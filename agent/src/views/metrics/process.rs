//! The agent's own `process_*` families, named as in the Prometheus client libraries.

use std::fmt;

use procfs::{WithCurrentSystemInfo as _, process};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::families::encode::counter;

#[derive(Debug)]
pub(super) struct Process {
    ticks_per_second: f64,
}

impl Process {
    pub(super) fn new() -> Self {
        Self {
            ticks_per_second: procfs::ticks_per_second() as f64,
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Absent rather than wrong if /proc is not readable.
        let Ok(me) = process::Process::myself() else {
            return Ok(());
        };
        if let Ok(stat) = me.stat() {
            let cpu = (stat.utime + stat.stime) as f64 / self.ticks_per_second;
            let mut family = counter(
                &mut encoder,
                "process_cpu",
                "User and system CPU time of the agent.",
                Some(&Unit::Seconds),
            )?;
            family.encode_counter::<NoLabelSet, _, f64>(&cpu, None)?;
            gauge(
                &mut encoder,
                "process_resident_memory",
                "Resident memory of the agent.",
                &Unit::Bytes,
                stat.rss_bytes().get(),
            )?;
            gauge(
                &mut encoder,
                "process_virtual_memory",
                "Virtual memory of the agent.",
                &Unit::Bytes,
                stat.vsize,
            )?;
            if let Ok(boot) = procfs::boot_time_secs() {
                let start = boot as f64 + stat.starttime as f64 / self.ticks_per_second;
                gauge(
                    &mut encoder,
                    "process_start_time",
                    "Start time of the agent since the Unix epoch.",
                    &Unit::Seconds,
                    start,
                )?;
            }
        }
        if let Ok(open) = me.fd_count() {
            encoder
                .encode_descriptor(
                    "process_open_fds",
                    "Open file descriptors of the agent.",
                    None,
                    MetricType::Gauge,
                )?
                .encode_gauge(&(open as u64))?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: &Unit,
    value: impl EncodeGaugeValue,
) -> Result<(), fmt::Error> {
    encoder
        .encode_descriptor(name, help, Some(unit), MetricType::Gauge)?
        .encode_gauge(&value)
}
