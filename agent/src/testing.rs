//! Helpers of the unit tests.

use reprise_core::pipeline::{
    Pipeline,
    correlate::Bounds,
    peers::Naming,
    stats::{Limits, Thresholds},
};

/// A pipeline for a few peers, with a window of one second and alerts from two offers on.
pub(crate) fn small_pipeline(naming: Naming) -> Pipeline {
    let limits = Limits {
        max_peers: 10,
        max_services: 10,
        max_workloads: 10,
        forget_after_ns: u64::MAX,
        forget_peers_after_ns: u64::MAX,
        window_ns: 1_000_000_000,
        thresholds: Thresholds {
            miss_ratio: 0.5,
            min_offers: 2,
        },
    };
    let bounds = Bounds {
        connections: 16,
        sessions: 16,
        services: 64,
    };
    Pipeline::new(limits, bounds, naming)
}
