//! From the flags to the configuration of the application.

use std::{io, net::SocketAddr, path::Path};

use tokio::runtime::{self, Runtime};

use super::{
    app::{Config, HttpConfig},
    cli::{Counting, Loading, Observing},
    failure::Failure,
    observer::Scope,
    start_up::StartUp,
};
use crate::{
    host::{self, ObservedCgroup, pods::Pods},
    status::BpfMode,
    views::http::{AccessRules, AllowedHosts, WebConfig},
};
use reprise_core::pipeline::{
    Pipeline,
    correlate::Bounds,
    peers::{Groups, Naming},
    stats::{Limits, Thresholds},
    wire,
};

/// The configuration of an application without an HTTP server and a recording. Checks the files
/// first, then the host.
pub(super) fn config(
    start_up: StartUp,
    counting: &Counting,
    observing: &Observing,
) -> Result<Config, Failure> {
    let pipeline = pipeline(counting)?;
    let mut mode = prepare(observing.loading)?;
    let cgroup = cgroup(observing)?;
    mode.scoped = cgroup.is_some();
    Ok(Config {
        start_up,
        pipeline,
        scope: scope(observing, mode, cgroup),
        pod_names: observing.pod_names,
        node_name: observing.node_name.clone(),
        peer_file: counting.peer_file.clone(),
        http: None,
        recorder: None,
    })
}

/// A runtime of one thread: observation is a few short bursts per second, and all of it shares one
/// address space.
pub(super) fn runtime() -> io::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

/// Address and access rules of the HTTP server.
pub(super) fn http(
    address: SocketAddr,
    web_config: Option<&Path>,
    allow_host: &[String],
) -> Result<HttpConfig, Failure> {
    let loaded = web_config.map(WebConfig::load);
    let config = loaded
        .transpose()
        .map_err(|error| Failure::Usage(format!("--web-config: {}", crate::chain(&error))))?;
    let hosts = AllowedHosts::new(address, allow_host.to_vec());
    Ok(HttpConfig {
        address,
        rules: AccessRules { hosts, config },
    })
}

/// An empty pipeline.
pub(super) fn pipeline(counting: &Counting) -> Result<Pipeline, Failure> {
    let groups = match &counting.peer_file {
        Some(path) => Groups::load(path)
            .map_err(|error| Failure::Usage(format!("--peer-file: {}", crate::chain(&error))))?,
        None => Groups::default(),
    };
    let limits = Limits {
        max_peers: counting.max_peers as usize,
        max_services: counting.max_services as usize,
        max_workloads: counting.max_workloads as usize,
        forget_after_ns: counting.forget_after * 1_000_000_000,
        forget_peers_after_ns: counting.forget_peers_after * 1_000_000_000,
        window_ns: counting.window * 1_000_000_000,
        thresholds: Thresholds {
            miss_ratio: counting.alert_miss_ratio,
            min_offers: u64::from(counting.alert_min_offers),
        },
    };
    let bounds = Bounds {
        connections: counting.max_connections as usize,
        sessions: counting.max_sessions as usize,
        services: counting.max_service_caches as usize,
    };
    let naming = Naming {
        groups,
        prefix_v4: counting.peer_prefix_v4,
        prefix_v6: counting.peer_prefix_v6,
        user_namespace_peers: counting.user_namespace_peers,
        proxy_protocol_from: counting.proxy_protocol_from.clone(),
    };
    Ok(Pipeline::new(limits, bounds, naming))
}

/// Checks the host and resolves the mode of the programs.
fn prepare(loading: Loading) -> Result<BpfMode, Failure> {
    host::prepare()?;
    let resolved = loading.request().resolve();
    let mode = resolved.map_err(|incompatible| Failure::Usage(incompatible.to_string()))?;
    let (transport, library_data) = (mode.transport(), mode.library_data());
    tracing::info!(transport, library_data, "mode chosen");
    if loading.kernel_log && !mode.log {
        tracing::warn!("kernel log not available without ring buffers");
    }
    Ok(mode)
}

/// The cgroup to which the observation is restricted.
fn cgroup(observing: &Observing) -> Result<Option<ObservedCgroup>, Failure> {
    let Some(path) = &observing.cgroup else {
        return Ok(None);
    };
    ObservedCgroup::open(path).map_err(|error| {
        let (path, reason, remedy) = (path.display(), crate::chain(&error), error.remedy());
        Failure::Usage(format!("--cgroup {path}: {reason}; remedy: {remedy}"))
    })
}

fn scope(observing: &Observing, mode: BpfMode, cgroup: Option<ObservedCgroup>) -> Scope {
    Scope {
        ignored: observing.ignore.clone(),
        excluded: observing.ignore_process.clone(),
        cgroup,
        mode,
        first_flights: wire::Limits {
            max_connections: observing.max_hellos as usize,
            max_bytes: observing.max_hello_memory as usize * 1024,
        },
        pods: Pods::default(),
    }
}
