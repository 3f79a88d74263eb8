//! A small client in C, compiled for several kinds of libssl: for musl, or static.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::Counts;
use crate::process::{Process, fixture, run};

/// The compiled client.
#[derive(Debug)]
pub struct Native {
    program: PathBuf,
    _directory: TempDir,
}

impl Native {
    /// Compiles it for musl with the shared libraries in `libraries`.
    ///
    /// # Panics
    /// If the compiler fails.
    #[must_use]
    pub fn for_musl(libraries: &Path, libssl: &Path) -> Self {
        let search = format!(
            "-Wl,-rpath,{},--unresolved-symbols=ignore-in-shared-libs",
            libraries.display()
        );
        Self::compile("musl-gcc", &[libssl.as_os_str(), search.as_ref()])
    }

    /// Compiles it for glibc with the distribution's shared libraries.
    ///
    /// # Panics
    /// If the compiler fails.
    #[must_use]
    pub fn for_glibc() -> Self {
        Self::compile("gcc", &["-lssl", "-lcrypto"].map(AsRef::as_ref))
    }

    /// Compiles it as a static program with the distribution's OpenSSL at a fixed address.
    ///
    /// # Panics
    /// If the compiler fails.
    #[must_use]
    pub fn static_at_fixed_address() -> Self {
        Self::compile(
            "gcc",
            &["-static", "-no-pie", "-lssl", "-lcrypto"].map(AsRef::as_ref),
        )
    }

    /// Strips the program.
    ///
    /// # Panics
    /// If `strip` fails.
    #[must_use]
    pub fn stripped(self) -> Self {
        run(Command::new("strip").arg("--strip-all").arg(&self.program));
        self
    }

    fn compile(compiler: &str, libraries: &[&std::ffi::OsStr]) -> Self {
        let directory = TempDir::new().expect("failed to create a directory for a program");
        let program = directory.path().join("client");
        let mut compile = Command::new(compiler);
        compile
            .args(["-O2", "-w", "-o"])
            .arg(&program)
            .arg(fixture("client.c"));
        run(compile.args(libraries));
        Self {
            program,
            _directory: directory,
        }
    }

    /// Path of the program.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// Starts a process that has mapped the library and does nothing else.
    ///
    /// # Panics
    /// If it does not map the library in time.
    #[must_use]
    pub fn start_idle(&self) -> Process {
        let process = Process::spawn(Command::new(&self.program).args(["0", "0"]));
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
        let mut command = Command::new(&self.program);
        let output = run(command.args([port.to_string(), connections.to_string()]));
        serde_json::from_str(&output)
            .unwrap_or_else(|error| panic!("no report: {error}: {output:?}"))
    }
}
