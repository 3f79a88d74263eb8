//! A Redis without TLS that stores sessions of several servers.

use std::process::Command;

use crate::ports::free_port;
use crate::process::Process;

/// A running session cache; stopped when dropped.
#[derive(Debug)]
pub struct Cache {
    /// Port on 127.0.0.1.
    pub port: u16,
    _process: Process,
}

impl Cache {
    /// Starts Redis on a free port.
    #[must_use]
    pub fn start() -> Self {
        let port = free_port();
        let words = [
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--bind",
            "127.0.0.1",
        ];
        let mut process = Process::spawn(Command::new("redis-server").args(words));
        process.wait_listening(port);
        Self {
            port,
            _process: process,
        }
    }
}
