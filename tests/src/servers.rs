//! Real TLS servers, configured as an operator would; each is killed when dropped.

mod configured;
mod programs;
mod sized;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub use self::sized::{CacheSetting, CachingServer};
use crate::process::Process;

/// Session mechanism of a server, which determines the protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// TLS 1.2 with session IDs, without tickets.
    Ids,
    /// TLS 1.3 with tickets.
    Tickets,
    /// TLS 1.2 with tickets.
    OldTickets,
    /// TLS 1.3 with tickets that name a session in the server's cache.
    StatefulTickets,
}

impl Sessions {
    /// Value of the `version` label of its handshakes.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::Ids | Self::OldTickets => "1.2",
            Self::Tickets | Self::StatefulTickets => "1.3",
        }
    }
}

/// Settings of HAProxy that differ from the default.
#[derive(Debug, Clone, Copy)]
pub struct Tuning<'a> {
    /// Address to listen on.
    pub host: &'a str,
    /// Port to listen on; a free port if none.
    pub port: Option<u16>,
    /// `tune.ssl.cachesize`, blocks.
    pub cache: u32,
    /// `tune.ssl.lifetime`, seconds.
    pub lifetime: u32,
    /// Options of the `bind` line instead of those for the session mechanism.
    pub versions: Option<&'a str>,
    /// Additional options of the `bind` line.
    pub bind: &'a str,
    /// Additional lines of the `defaults` section.
    pub defaults: &'a str,
    /// Command that starts it.
    pub under: &'a [&'a str],
}

impl Default for Tuning<'_> {
    fn default() -> Self {
        Self {
            host: "127.0.0.1",
            port: None,
            cache: 20_000,
            lifetime: 300,
            versions: None,
            bind: "",
            defaults: "",
            under: &[],
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Session mechanism and protocol version.
    pub sessions: Sessions,
    /// The server's main process.
    pub process: Process,
    directory: TempDir,
}

impl Server {
    fn start(sessions: Sessions, port: u16, directory: TempDir, command: &mut Command) -> Self {
        let mut process = Process::spawn(command);
        process.wait_listening(port);
        Self {
            port,
            sessions,
            process,
            directory,
        }
    }

    /// Returns nginx's report on its handshakes so far: lines of `address r|. protocol`.
    #[must_use]
    pub fn access_log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Value of the `peer` label of its clients' handshakes.
    #[must_use]
    pub fn peer(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn scratch() -> TempDir {
    TempDir::new().expect("failed to create a directory for a server")
}

fn write(directory: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = Path::new(directory.path()).join(name);
    fs::write(&path, text).expect("failed to write a configuration");
    path
}
