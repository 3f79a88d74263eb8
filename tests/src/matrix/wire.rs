//! Servers without OpenSSL, observed on the wire only: Go, Java, GnuTLS, rustls.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::cell::{Cell, Fault, Kind, usual_truth};
use super::setup::Setup;
use super::target::Target;
use crate::certificates::ec;
use crate::process::{Process, fixture, run};
use crate::programs::gnutls;

type Truth = Option<&'static [&'static str]>;

/// `net/http` of Go, which has no session IDs.
#[derive(Debug)]
pub struct Go {
    directory: TempDir,
}

impl Go {
    /// Builds the server.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn build() -> Self {
        let directory = TempDir::new().expect("failed to create a directory");
        let mut build = Command::new("go");
        build
            .arg("build")
            .arg("-o")
            .arg(directory.path().join("server"));
        build.env("GOCACHE", directory.path().join("cache"));
        run(build
            .env("GO111MODULE", "off")
            .arg(fixture("matrix/server.go")));
        Self { directory }
    }
}

impl Target for Go {
    fn name(&self) -> &'static str {
        "Go"
    }

    fn by_wire(&self) -> bool {
        true
    }

    fn truth(&self, cell: Cell) -> Truth {
        match (cell.fault, cell.kind) {
            (_, Kind::Id | Kind::Stateful) => None,
            // The server reads the key when it starts.
            (Fault::KeyRotated, _) => Some(&["retired_key", "restarted"]),
            (Fault::Nothing | Fault::Restart | Fault::SecondNode | Fault::ClientResets, _) => {
                usual_truth(cell)
            }
            _ => None,
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let mut command = Command::new(self.directory.path().join("server"));
        command.arg(&ec().cert).arg(&ec().key);
        command.args([&setup.port.to_string(), setup.cell.kind.version()]);
        if setup.has(Fault::KeyRotated) {
            command.arg(setup.write("keys", setup.ticket_key(32)));
        }
        vec![Process::spawn(&mut command)]
    }

    fn change(&self, setup: &Setup, processes: &mut Vec<Process>) {
        processes.clear();
        *processes = self.start(setup);
        processes[0].wait_listening(setup.port);
    }
}

/// The JDK's `HttpsServer`.
#[derive(Debug)]
pub struct Java {
    directory: TempDir,
}

impl Java {
    /// Compiles the server and creates its key store.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn build() -> Self {
        let directory = TempDir::new().expect("failed to create a directory");
        let mut compiler = Command::new("javac");
        compiler.arg("-d").arg(directory.path());
        run(compiler.arg(fixture("matrix/Server.java")));
        let mut keytool = Command::new("keytool");
        keytool.args(["-genkeypair", "-alias", "test", "-keyalg", "EC"]);
        keytool.args(["-dname", "CN=localhost", "-storetype", "PKCS12"]);
        keytool.args(["-storepass", "changeit", "-keystore"]);
        run(keytool.arg(directory.path().join("store.p12")));
        Self { directory }
    }
}

impl Target for Java {
    fn name(&self) -> &'static str {
        "Java"
    }

    fn by_wire(&self) -> bool {
        true
    }

    fn truth(&self, cell: Cell) -> Truth {
        match cell.fault {
            Fault::Nothing
            | Fault::CacheTooSmall
            | Fault::LifetimeTooShort
            | Fault::Restart
            | Fault::SecondNode => usual_truth(cell),
            _ => None,
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let at = self.directory.path();
        let kind = setup.cell.kind;
        let mut command = Command::new("java");
        command.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1"]);
        let version = format!("TLSv{}", kind.version());
        command.arg(format!("-Djdk.tls.server.protocols={version}"));
        let tickets = !kind.is_entry();
        command.arg(format!(
            "-Djdk.tls.server.enableSessionTicketExtension={tickets}"
        ));
        command
            .arg("-cp")
            .arg(at)
            .arg("Server")
            .arg(at.join("store.p12"));
        let cache = if setup.has(Fault::CacheTooSmall) {
            "10"
        } else {
            "20000"
        };
        command.args(["changeit", &setup.port.to_string(), cache]);
        vec![Process::spawn(command.arg(setup.lifetime().to_string()))]
    }
}

/// `gnutls-serv`.
#[derive(Debug)]
pub struct GnuTls;

impl Target for GnuTls {
    fn name(&self) -> &'static str {
        "GnuTLS"
    }

    fn by_wire(&self) -> bool {
        true
    }

    fn truth(&self, cell: Cell) -> Truth {
        match (cell.fault, cell.kind) {
            // GnuTLS issues stateless tickets only in TLS 1.3.
            (_, Kind::Stateful) => None,
            (Fault::Nothing | Fault::CacheOff | Fault::Restart | Fault::SecondNode, _) => {
                usual_truth(cell)
            }
            _ => None,
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let mut command = gnutls::server(setup.port, &["--disable-client-cert"]);
        command.args(if setup.cell.kind.is_tls13() {
            ["--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3"]
        } else {
            ["--priority", "NORMAL:-VERS-TLS1.3"]
        });
        if setup.cell.kind == Kind::Id {
            command.arg("--noticket");
        }
        if setup.has(Fault::CacheOff) {
            command.arg("--nodb");
        }
        vec![Process::spawn(&mut command)]
    }
}

/// The program `rustls_server` of this crate.
#[derive(Debug)]
pub struct Rustls {
    program: PathBuf,
}

impl Rustls {
    /// Uses the program at this path.
    #[must_use]
    pub fn new(program: impl AsRef<Path>) -> Self {
        let program = program.as_ref().to_owned();
        Self { program }
    }
}

impl Target for Rustls {
    fn name(&self) -> &'static str {
        "rustls"
    }

    fn by_wire(&self) -> bool {
        true
    }

    fn truth(&self, cell: Cell) -> Truth {
        match (cell.fault, cell.kind) {
            (Fault::ContextPerConnection, Kind::Ticket | Kind::Stateless) => usual_truth(cell),
            (Fault::Nothing | Fault::CacheTooSmall | Fault::Restart | Fault::SecondNode, _) => {
                usual_truth(cell)
            }
            _ => None,
        }
    }

    fn start(&self, setup: &Setup) -> Vec<Process> {
        let sessions = match setup.cell.fault {
            Fault::ContextPerConnection => "context",
            _ if !setup.cell.kind.is_entry() => "tickets",
            Fault::CacheTooSmall => "10",
            _ => "1000",
        };
        let mut command = Command::new(&self.program);
        command.arg(&ec().cert).arg(&ec().key);
        command.args([&setup.port.to_string(), setup.cell.kind.version(), sessions]);
        vec![Process::spawn(&mut command)]
    }
}
