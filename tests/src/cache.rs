//! A Redis without TLS, in which several servers keep their sessions.

use std::process::Command;

use crate::ports::free_port;
use crate::process::Process;

/// Shared session cache, as the module describes; stops when dropped.
#[derive(Debug)]
pub struct Cache {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    _process: Process,
}

impl Cache {
    /// Starts one.
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
