//! Port, files and settings of one server in a cell. They outlive its processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::cell::{Cell, Fault};
use crate::faketime;
use crate::ports::free_port;

/// Lifetime of sessions in cells where it is too short, seconds.
pub(super) const SHORT_LIFETIME: u32 = 1;
/// Lifetime of sessions in all other cells, seconds.
pub(super) const LIFETIME: u32 = 300;

/// Setup of one server.
#[derive(Debug)]
pub struct Setup {
    /// Cell that the server is part of.
    pub cell: Cell,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Whether the configuration is the one after the change.
    pub changed: bool,
    directory: TempDir,
}

impl Setup {
    /// Allocates a port and a directory.
    ///
    /// # Panics
    /// If no directory can be created.
    #[must_use]
    pub fn new(cell: Cell) -> Self {
        let directory = TempDir::new().expect("failed to create a directory for a server");
        let setup = Self {
            cell,
            port: free_port(),
            changed: false,
            directory,
        };
        setup.write("clock", "+0");
        setup
    }

    /// Directory of the server.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Replaces a file atomically, since the server may read it; returns its path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let (path, new) = (self.path().join(name), self.path().join("new"));
        fs::write(&new, content).expect("failed to write a server's file");
        fs::rename(new, &path).expect("failed to rename a server's file");
        path
    }

    /// Lifetime of sessions, seconds.
    #[must_use]
    pub fn lifetime(&self) -> u32 {
        match self.cell.fault {
            Fault::LifetimeTooShort => SHORT_LIFETIME,
            _ => LIFETIME,
        }
    }

    /// Whether the cell has this fault.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.cell.fault == fault
    }

    /// The only TLS 1.3 cipher suite of the server, in cells that change it.
    #[must_use]
    pub fn cipher(&self) -> Option<&'static str> {
        self.has(Fault::OtherCipher).then_some(if self.changed {
            "TLS_AES_128_GCM_SHA256"
        } else {
            "TLS_AES_256_GCM_SHA384"
        })
    }

    /// Whether the server is given a ticket key, in place of a random one: in cells that replace
    /// it, and where a restart must not.
    #[must_use]
    pub fn has_ticket_key(&self) -> bool {
        self.has(Fault::KeyRotated) || self.has(Fault::OtherCipher)
    }

    /// Ticket key of `length` bytes that begins with its name. In cells that rotate keys it is
    /// another one after the change.
    #[must_use]
    pub fn ticket_key(&self, length: usize) -> Vec<u8> {
        let rotated = self.changed && self.has(Fault::KeyRotated);
        let mut key = format!("{:<16}", format!("key {} {}", self.port, u8::from(rotated)));
        key.truncate(16);
        let mut key = key.into_bytes();
        key.resize(length, 7 + u8::from(rotated));
        key
    }

    /// Environment variables of libfaketime.
    pub const CLOCK_VARIABLES: [&'static str; 5] = [
        "LD_PRELOAD",
        "FAKETIME_TIMESTAMP_FILE",
        "FAKETIME_NO_CACHE",
        "DONT_FAKE_MONOTONIC",
        "FAKETIME_DONT_FAKE_MONOTONIC",
    ];

    /// Runs `command` with the clock that [`Self::step_clock`] steps, in cells that do so.
    pub fn clock(&self, command: &mut Command) {
        if self.has(Fault::ClockStep) {
            let file = self.path().join("clock");
            command.env("LD_PRELOAD", faketime::library());
            command.env("FAKETIME_TIMESTAMP_FILE", file);
            for name in &Self::CLOCK_VARIABLES[2..] {
                command.env(name, "1");
            }
        }
    }

    /// Steps the server's clock by three days.
    pub fn step_clock(&self) {
        self.write("clock", "+259200");
    }
}
