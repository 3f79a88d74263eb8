//! Free TCP ports for servers and agents.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports below the kernel's ephemeral range (`net.ipv4.ip_local_port_range`), whose ports any
/// connection may occupy at any time.
const PORTS: Range<u16> = 20_000..32_000;

/// Returns a port that nobody listens on and that this process did not return before.
///
/// # Panics
/// If every port is in use.
#[must_use]
pub fn free_port() -> u16 {
    static RETURNED: AtomicU32 = AtomicU32::new(0);
    let size = u32::from(PORTS.end - PORTS.start);
    (0..size)
        .find_map(|_| {
            let number = std::process::id()
                .wrapping_mul(97)
                .wrapping_add(RETURNED.fetch_add(1, Ordering::Relaxed));
            let port = PORTS.start + u16::try_from(number % size).ok()?;
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
            Some(port)
        })
        .expect("every port is in use")
}
