//! State of one server in a cell that outlives its processes: port, directory, generation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::cell::{Cell, Fault};
use crate::ports::free_port;

/// Lifetime of sessions in the cells where it is too short, seconds.
pub(super) const SHORT_LIFETIME: u32 = 1;
/// Lifetime of sessions in all other cells, seconds.
pub(super) const LIFETIME: u32 = 300;

/// One server of a cell.
#[derive(Debug)]
pub struct Setup {
    /// The cell.
    pub cell: Cell,
    /// Where the server listens on 127.0.0.1.
    pub port: u16,
    /// What is to change has changed: the configuration is that after a reload or rotation.
    pub changed: bool,
    directory: TempDir,
}

impl Setup {
    /// A server with a port and a directory of its own.
    ///
    /// # Panics
    /// When no directory can be created.
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

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file in one step, since the server may be reading it, and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
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

    /// Whether this is a cell with that fault.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.cell.fault == fault
    }

    /// The only TLS 1.3 cipher suite, where the cell changes it.
    #[must_use]
    pub fn cipher(&self) -> Option<&'static str> {
        self.has(Fault::OtherCipher).then_some(if self.changed {
            "TLS_AES_128_GCM_SHA256"
        } else {
            "TLS_AES_256_GCM_SHA384"
        })
    }

    /// A ticket key of `length` bytes that begins with its name: another one once the setup has
    /// changed, in the cell that rotates keys.
    #[must_use]
    pub fn ticket_key(&self, length: usize) -> Vec<u8> {
        let rotated = self.changed && self.has(Fault::KeyRotated);
        let mut key = format!("{:<16}", format!("key {} {}", self.port, u8::from(rotated)));
        key.truncate(16);
        let mut key = key.into_bytes();
        key.resize(length, 7 + u8::from(rotated));
        key
    }

    /// Names of the variables under which a server's clock is that of the cell.
    pub const CLOCK_VARIABLES: [&'static str; 5] = [
        "LD_PRELOAD",
        "FAKETIME_TIMESTAMP_FILE",
        "FAKETIME_NO_CACHE",
        "DONT_FAKE_MONOTONIC",
        "FAKETIME_DONT_FAKE_MONOTONIC",
    ];

    /// Lets `command` read the clock that [`Self::step_clock`] steps, in the cell that does that.
    pub fn clock(&self, command: &mut Command) {
        if self.has(Fault::ClockStep) {
            let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
            let file = self.path().join("clock");
            command.env("LD_PRELOAD", library);
            command.env("FAKETIME_TIMESTAMP_FILE", file);
            for name in &Self::CLOCK_VARIABLES[2..] {
                command.env(name, "1");
            }
        }
    }

    /// Steps the server's clock by two hours.
    pub fn step_clock(&self) {
        self.write("clock", "+7200");
    }
}
