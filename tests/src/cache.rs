//! A cache server without TLS that stores sessions of several TLS servers.

use std::process::Command;

use crate::ports::free_port;
use crate::process::Process;

/// A running session cache; stopped when dropped.
#[derive(Debug)]
pub struct Cache {
    /// Name of Apache's provider for it.
    pub provider: &'static str,
    /// Port on 127.0.0.1.
    pub port: u16,
    _process: Process,
}

impl Cache {
    /// Starts Redis on a free port.
    #[must_use]
    pub fn redis() -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--save", "", "--bind", "127.0.0.1", "--port"]);
        Self::start("redis", &mut command)
    }

    /// Starts memcached on a free port.
    #[must_use]
    pub fn memcached() -> Self {
        let mut command = Command::new("memcached");
        command.args(["-u", "root", "-l", "127.0.0.1", "-U", "0", "-p"]);
        Self::start("memcache", &mut command)
    }

    fn start(provider: &'static str, command: &mut Command) -> Self {
        let port = free_port();
        let mut process = Process::spawn(command.arg(port.to_string()));
        process.wait_listening(port);
        Self {
            provider,
            port,
            _process: process,
        }
    }

    /// Value of Apache's `SSLSessionCache`.
    #[must_use]
    pub fn directive(&self) -> String {
        format!("{}:127.0.0.1:{}", self.provider, self.port)
    }
}
