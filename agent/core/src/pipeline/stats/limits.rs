//! Sizes and thresholds that the command line sets.

/// Conditions of an alert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Missed share of offers above which an alert begins, 0 to 1.
    pub miss_ratio: f64,
    /// Minimum number of offers, or of handshakes without an offer, in the window.
    pub min_offers: u64,
}

/// Sizes that bound memory, and the conditions of alerts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Peers with sums of their own, over both roles; the others are summed as `other`.
    pub max_peers: usize,
    /// Services with sums of their own; the others are summed as `other`.
    pub max_services: usize,
    /// Workloads of clients with sums of their own; the others are summed as `other`.
    pub max_workloads: usize,
    /// Time after which services and workloads without a handshake leave, nanoseconds.
    pub forget_after_ns: u64,
    /// Time after which peers without a handshake leave, nanoseconds.
    pub forget_peers_after_ns: u64,
    /// Length of the window of ratios and alerts, nanoseconds.
    pub window_ns: u64,
    /// Conditions of an alert.
    pub thresholds: Thresholds,
}
