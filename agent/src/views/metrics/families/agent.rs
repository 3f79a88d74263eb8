//! Families of the agent itself: libraries, probes, events, tables.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::encode::{count, counter, gauge, seconds, set};
use crate::{
    observed::Observed,
    status::{LibraryStatus, Reason, Sensor, Status},
};
use reprise_core::pipeline::Pipeline;

pub(super) fn agent(
    observed: &Observed,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let status = &observed.status;
    libraries(observed, encoder)?;
    // Absent before the first scan of all processes.
    if status.scanned && status.sensor(Sensor::Handshake).attached {
        uncovered(status, encoder)?;
    }
    probes(status, encoder)?;
    events(observed, encoder)?;
    if status.programs.is_empty() {
        return Ok(());
    }
    programs(status, encoder)
}

fn libraries(observed: &Observed, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(
        "reprise_library",
        "One series per observed library build.",
        None,
        MetricType::Info,
    )?;
    let wire = (observed.pipeline.stats.wire > 0).then(LibraryStatus::wire);
    let libraries = observed.status.libraries.iter().chain(&wire);
    let libraries = libraries.filter(|library| library.observed);
    let mut builds: Vec<_> = libraries
        .map(|library| {
            [
                ("library", library.library.as_str()),
                ("version", library.version.as_str()),
                ("entry", library.entry.as_str()),
                ("evidence", library.evidence.as_str()),
            ]
        })
        .collect();
    builds.sort_unstable();
    builds.dedup();
    for labels in &builds {
        family.encode_info(labels)?;
    }
    Ok(())
}

fn uncovered(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = gauge(
        encoder,
        "reprise_uncovered_processes",
        "Processes that use a TLS library but are not observed, by reason.",
    )?;
    for reason in Reason::ALL {
        let uncovered = status.coverage.uncovered.get(&reason);
        let processes = uncovered.map_or(0, |uncovered| uncovered.processes);
        set(&mut family, [("reason", reason.label())], processes)?;
    }
    Ok(())
}

fn probes(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = gauge(
        encoder,
        "reprise_probe_attached",
        "Attach points by probe and verdict.",
    )?;
    for ((probe, verdict), sum) in &status.probes {
        let labels = [("probe", *probe), ("verdict", verdict.label())];
        set(&mut family, labels, *sum)?;
    }
    Ok(())
}

fn events(observed: &Observed, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let status = &observed.status;
    let attached = || {
        let sensors = Sensor::ALL.into_iter();
        sensors.filter(|sensor| status.sensor(*sensor).attached)
    };
    let mut family = counter(
        encoder,
        "reprise_events",
        "Events read from the kernel.",
        None,
    )?;
    for sensor in attached() {
        let events = status.sensor(sensor).events;
        count(&mut family, [("sensor", sensor.label())], events)?;
    }
    let mut family = counter(
        encoder,
        "reprise_events_lost",
        "Events lost in the kernel or not decoded by the agent.",
        None,
    )?;
    for sensor in attached() {
        // A handshake of unknown role is counted in no other family.
        let unknown_role = match sensor {
            Sensor::Handshake => observed.pipeline.tracked().unknown_role,
            Sensor::Tcp | Sensor::Wire => 0,
        };
        let lost = status.sensor(sensor).lost + unknown_role;
        count(&mut family, [("sensor", sensor.label())], lost)?;
    }
    Ok(())
}

fn programs(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = counter(
        encoder,
        "reprise_bpf_runs",
        "Runs of each BPF program, as counted by the kernel.",
        None,
    )?;
    for (program, (runs, _)) in &status.programs {
        count(&mut family, [("program", program)], *runs)?;
    }
    let mut family = counter(
        encoder,
        "reprise_bpf_run",
        "Time inside each BPF program, as measured by the kernel.",
        Some(&Unit::Seconds),
    )?;
    for (program, (_, ns)) in &status.programs {
        count(&mut family, [("program", program)], seconds(*ns))?;
    }
    Ok(())
}

pub(super) fn tables(
    observed: &Observed,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let Observed { pipeline, status } = observed;
    let tracked = pipeline.tracked();
    let evidence = &tracked.evidence;
    let stats = &pipeline.stats;
    let peers = &stats.peers;
    let mut family = gauge(encoder, "reprise_tracked", "Entries in each bounded table.")?;
    for (table, entries) in [
        ("cgroups", status.cgroups.known),
        ("client_networks", stats.networks.len() as u64),
        ("clients", evidence.clients as u64),
        ("connections", tracked.connections as u64),
        ("first_flights", status.first_flights),
        ("libraries", status.libraries.len() as u64),
        ("listeners", tracked.listeners as u64),
        ("open_connections", stats.lifetimes.len() as u64),
        ("open_handshakes", status.open_handshakes),
        ("owners", stats.owners.len() as u64),
        ("peers", peers.len() as u64),
        ("processes", evidence.processes as u64),
        ("service_caches", pipeline.sizing().len() as u64),
        ("service_clients", stats.arrivals.len() as u64),
        ("service_series", stats.services.len() as u64),
        ("services", evidence.services as u64),
        ("sessions", evidence.sessions as u64),
        ("ticket_keys", evidence.keys as u64),
        ("waiting_handshakes", tracked.waiting as u64),
        ("wire_handshakes", tracked.wires as u64),
        ("workloads", stats.clients.len() as u64),
    ] {
        set(&mut family, [("table", table)], entries)?;
    }
    let mut family = counter(
        encoder,
        "reprise_evictions",
        "Entries evicted from a bounded table because it was full.",
        None,
    )?;
    for (table, evicted) in [
        ("cgroups", status.cgroups.evicted),
        ("client_networks", stats.networks.evicted()),
        ("clients", evidence.evicted_clients),
        ("connections", tracked.evicted_connections),
        ("first_flights", status.evicted_flights),
        ("listeners", tracked.evicted_listeners),
        ("open_connections", stats.lifetimes.evicted()),
        ("open_handshakes", status.evicted_handshakes),
        ("owners", stats.owners.evicted()),
        ("peers", peers.evicted()),
        ("processes", evidence.evicted_processes),
        ("service_caches", pipeline.sizing().evicted()),
        ("service_clients", stats.arrivals.evicted()),
        ("service_series", stats.services.evicted()),
        ("services", evidence.evicted_services),
        ("sessions", evidence.evicted),
        ("ticket_key_series", pipeline.stats.ticket_keys.evicted()),
        ("ticket_keys", evidence.evicted_keys),
        ("wire_handshakes", tracked.evicted_wires),
        ("workloads", stats.clients.evicted()),
    ] {
        count(&mut family, [("table", table)], evicted)?;
    }
    let mut family = counter(
        encoder,
        "reprise_forgotten",
        "Entries whose series ended because they had no handshake for long.",
        None,
    )?;
    for (table, forgotten) in [
        ("peers", peers.forgotten()),
        ("service_series", stats.services.forgotten()),
        ("workloads", stats.clients.forgotten()),
    ] {
        count(&mut family, [("table", table)], forgotten)?;
    }
    clock(pipeline, encoder)?;
    let mut family = encoder.encode_descriptor(
        "reprise_build",
        "Version of this agent.",
        None,
        MetricType::Info,
    )?;
    family.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
}

fn clock(pipeline: &Pipeline, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let Some(synchronized) = pipeline.clock.synchronized() else {
        return Ok(());
    };
    gauge(
        encoder,
        "reprise_clock_synchronized",
        "1 if the host's clock is synchronised; session lifetimes depend on it.",
    )?
    .encode_gauge(&u64::from(synchronized))?;
    counter(
        encoder,
        "reprise_clock_steps",
        "Steps of the host's wall clock since the agent started.",
        None,
    )?
    .encode_counter::<NoLabelSet, _, f64>(&pipeline.clock.steps, None)
}
