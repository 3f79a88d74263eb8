//! pyOpenSSL, with the OpenSSL that is inside the wheel of `cryptography`: a Python module that
//! exports none of its functions.

use std::process::Command;

use super::Counts;
use crate::carriers::wheel::Wheel;
use crate::process::{PYTHON, Process, fixture, run};

/// The wheels that it takes, each with its version and platform.
const WHEELS: [(&str, &str, &str); 5] = [
    ("pyopenssl", "26.4.0", "any"),
    ("cryptography", "50.0.2", "manylinux_2_34_x86_64"),
    ("cffi", "2.1.1", "manylinux2014_x86_64"),
    ("pycparser", "3.12", "any"),
    ("typing_extensions", "4.16.0", "any"),
];

/// The client, with its wheels unpacked.
#[derive(Debug)]
pub struct PyOpenSsl {
    path: String,
}

impl PyOpenSsl {
    /// Fetches what it takes, for the distribution's Python.
    ///
    /// # Panics
    /// When that cannot be had.
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

    /// A process that has mapped the module, and does nothing with it.
    ///
    /// # Panics
    /// When it does not get so far.
    #[must_use]
    pub fn hold(&self) -> Process {
        let process = Process::spawn(&mut self.command(0, 0));
        process.wait_says(
            "mapped
",
        );
        process
    }

    /// Connects to `port`, every fifth time without a session.
    ///
    /// # Panics
    /// When a handshake fails.
    #[must_use]
    pub fn connect(&self, port: u16, connections: u32) -> Counts {
        let said = run(&mut self.command(port, connections));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("no report: {error}: {said:?}"))
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

/// The distribution's Python as wheels name it: `311`.
///
/// # Panics
/// When it does not say.
#[must_use]
pub fn python_tag() -> String {
    let ask = "import sys; print('%d%d' % sys.version_info[:2])";
    run(Command::new(PYTHON).args(["-c", ask]))
        .trim()
        .to_owned()
}
