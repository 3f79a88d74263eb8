//! pyOpenSSL, whose `cryptography` wheel contains OpenSSL in a Python module that exports none of
//! its functions.

use std::process::Command;

use super::Counts;
use crate::carriers::wheel::Wheel;
use crate::process::{PYTHON, Process, fixture, run};

/// The required wheels, each with version and platform.
const WHEELS: [(&str, &str, &str); 5] = [
    ("pyopenssl", "26.4.0", "any"),
    ("cryptography", "50.0.2", "manylinux_2_34_x86_64"),
    ("cffi", "2.1.1", "manylinux2014_x86_64"),
    ("pycparser", "3.12", "any"),
    ("typing_extensions", "4.16.0", "any"),
];

/// The client with its unpacked wheels.
#[derive(Debug)]
pub struct PyOpenSsl {
    path: String,
}

impl PyOpenSsl {
    /// Downloads the wheels for the distribution's Python.
    ///
    /// # Panics
    /// If a download fails.
    #[must_use]
    pub fn fetch() -> Self {
        let python = python_tag();
        let unpacked = WHEELS.map(|(project, version, platform)| {
            let wheel = Wheel {
                project,
                version,
                platform,
                python: &python,
            };
            wheel.unpacked().display().to_string()
        });
        Self {
            path: unpacked.join(":"),
        }
    }

    /// Starts a process that has mapped the library and does nothing else.
    ///
    /// # Panics
    /// If it does not map the library in time.
    #[must_use]
    pub fn start_idle(&self) -> Process {
        let process = Process::spawn(&mut self.command(0, 0));
        process.wait_stdout(
            "mapped
",
        );
        process
    }

    /// Connects to `port`; every fifth connection offers no session.
    ///
    /// # Panics
    /// If a handshake fails.
    #[must_use]
    pub fn connect(&self, port: u16, connections: u32) -> Counts {
        let output = run(&mut self.command(port, connections));
        serde_json::from_str(&output)
            .unwrap_or_else(|error| panic!("no report: {error}: {output:?}"))
    }

    fn command(&self, port: u16, connections: u32) -> Command {
        let mut python = Command::new(PYTHON);
        python
            .env("PYTHONPATH", &self.path)
            .arg(fixture("pyopenssl.py"))
            .args([port.to_string(), connections.to_string()]);
        python
    }
}

/// Version of the distribution's Python as in the names of wheels, such as `311`.
///
/// # Panics
/// If Python fails.
#[must_use]
pub fn python_tag() -> String {
    let script = "import sys; print('%d%d' % sys.version_info[:2])";
    run(Command::new(PYTHON).args(["-c", script]))
        .trim()
        .to_owned()
}
