//! Addresses and ports of the demo's server and clients.

/// Port with TLS 1.2 without tickets: HAProxy caches sessions by their ID.
pub(super) const SESSION_ID_PORT: u16 = 9443;

/// Port with TLS 1.3 and session tickets.
pub(super) const TICKET_PORT: u16 = 9444;

/// Host end of the lossy path, where HAProxy listens too; from the range that RFC 2544 reserves
/// for benchmarks, so that it conflicts with no real network.
pub(super) const HOST_ADDRESS: &str = "198.18.77.1";

/// Source addresses of the clients behind the lossy path.
pub(super) const CLIENT_ADDRESSES: &[&str] = &["198.18.77.2", "198.18.77.3", "198.18.77.4"];
