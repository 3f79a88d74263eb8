//! Free TCP ports for servers and agents.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::host_lock;

/// Ports below the kernel's ephemeral range (`net.ipv4.ip_local_port_range`), whose ports any
/// connection may occupy at any time.
const PORTS: Range<u16> = 20_000..32_000;

/// Returns a port that nobody listens on and that no test process has returned that still runs.
///
/// # Panics
/// If every port is in use.
#[must_use]
pub fn free_port() -> u16 {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    static RESERVED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    host_lock::acquire();
    let size = u32::from(PORTS.end - PORTS.start);
    let (port, reserved) = (0..size)
        .find_map(|_| {
            let number = std::process::id()
                .wrapping_mul(97)
                .wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed));
            let port = PORTS.start + u16::try_from(number % size).ok()?;
            let reserved = reserve(port)?;
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
            Some((port, reserved))
        })
        .expect("every port is in use");
    let mut all = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    all.push(reserved);
    port
}

/// Returns a socket of this process that listens on a free port of the loopback interface, which
/// belongs to the test's cgroup.
///
/// # Panics
/// If no port is free.
#[must_use]
pub fn listen() -> TcpListener {
    host_lock::acquire();
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("failed to bind any port")
}

/// Reserves a port between test processes by an abstract socket of its name (unix(7)), which ends
/// with the process.
fn reserve(port: u16) -> Option<UnixListener> {
    let name = format!("reprise-tests-port-{port}");
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).ok()?).ok()
}
