//! PostgreSQL: a server that forks for each connection, and clients with the system's libssl or
//! their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::Counts;
use crate::certificates::ec;
use crate::poll::{DEADLINE, poll_until};
use crate::ports::free_port;
use crate::process::{PYTHON, Process, fixture, run};

/// User of the server, which refuses to run as root.
const USER: &str = "postgres";

/// A running server with its own database.
#[derive(Debug)]
pub struct Postgres {
    /// Port on 127.0.0.1.
    pub port: u16,
    process: Process,
    _directory: TempDir,
}

impl Postgres {
    /// Creates a database and starts the server.
    ///
    /// # Panics
    /// If it does not accept connections in time.
    #[must_use]
    pub fn start() -> Self {
        let directory = TempDir::new().expect("failed to create a directory for a database");
        let (at, programs) = (directory.path(), programs());
        for (from, to) in [(&ec().cert, "cert.pem"), (&ec().key, "key.pem")] {
            fs::copy(from, at.join(to)).expect("failed to copy a certificate");
        }
        run(Command::new("chown")
            .arg("-R")
            .arg(format!("{USER}:{USER}"))
            .arg(at));
        run(Command::new("chmod").arg("600").arg(at.join("key.pem")));
        let data = at.join("data");
        let mut initdb = as_user(&programs.join("initdb"), at);
        run(initdb
            .args([
                "--auth=trust",
                "--no-sync",
                "--username",
                USER,
                "--locale=C",
                "--pgdata",
            ])
            .arg(&data));
        let port = free_port();
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "unix_socket_directories=".to_owned(),
            "fsync=off".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", at.join("cert.pem").display()),
            format!("ssl_key_file={}", at.join("key.pem").display()),
        ];
        let mut postgres = as_user(&programs.join("postgres"), at);
        postgres.arg("-D").arg(&data);
        for setting in settings {
            postgres.args(["-c", &setting]);
        }
        let mut process = Process::spawn(&mut postgres);
        poll_until("PostgreSQL is ready", DEADLINE, || {
            let output = process.stderr();
            assert!(
                process.exit_status().is_none(),
                "PostgreSQL ended early: {output}"
            );
            if output.contains("ready to accept connections") {
                Ok(())
            } else {
                Err(output)
            }
        });
        Self {
            port,
            process,
            _directory: directory,
        }
    }

    /// Connection string for libpq.
    fn address(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user={USER} dbname=postgres sslmode=require gssencmode=disable",
            self.port
        )
    }

    /// Connects with `psql` and returns how many connections used TLS according to the server. All
    /// are full handshakes: PostgreSQL disables sessions (src/backend/libpq/be-secure-openssl.c),
    /// and libpq stores none.
    ///
    /// # Panics
    /// If a connection fails.
    #[must_use]
    pub fn psql(&self, connections: u32) -> Counts {
        let query = "select count(*) from pg_stat_ssl where pid = pg_backend_pid() and ssl and version = 'TLSv1.3'";
        let one = |_| {
            let mut psql = Command::new("psql");
            let output = run(psql.arg(self.address()).args([
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "-c",
                query,
            ]));
            output.trim().parse::<u32>().expect("a count is a number")
        };
        Counts {
            full: (0..connections).map(one).sum(),
            resumed: 0,
        }
    }

    /// Connects with psycopg2 from the unpacked wheel, which contains its own libraries.
    ///
    /// # Panics
    /// If a connection fails.
    #[must_use]
    pub fn psycopg(&self, wheel: &Path, connections: u32) -> Counts {
        let mut python = psycopg(wheel);
        let output = run(python.arg(connections.to_string()).arg(self.address()));
        serde_json::from_str(&output)
            .unwrap_or_else(|error| panic!("no report: {error}: {output:?}"))
    }
}

/// Starts a process that has mapped the wheel's libraries and does nothing else.
///
/// # Panics
/// If it does not map them in time.
#[must_use]
pub fn start_idle_psycopg(wheel: &Path) -> Process {
    let process = Process::spawn(psycopg(wheel).arg("0"));
    poll_until(
        "the wheel's libraries are mapped",
        DEADLINE,
        || match process.stdout().as_str() {
            "mapped\n" => Ok(()),
            other => Err(format!("{other:?}; stderr: {}", process.stderr())),
        },
    );
    process
}

fn psycopg(wheel: &Path) -> Command {
    let mut python = Command::new(PYTHON);
    python.env("PYTHONPATH", wheel).arg(fixture("postgres.py"));
    python
}

/// Directory of the server's programs in the distribution.
fn programs() -> PathBuf {
    let entries = fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is not installed: `cargo xtask setup` does that");
    let versions = entries.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    versions.max().expect("PostgreSQL has a version")
}

fn as_user(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .current_dir(directory)
        .args([
            format!("--reuid={USER}"),
            format!("--regid={USER}"),
            "--clear-groups".to_owned(),
        ])
        .arg(program);
    command
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its children lead their own sessions, so that killing the group would not end them.
        if self.process.exit_status().is_none() {
            self.process.signal(Signal::SIGQUIT);
            self.process.wait_ended();
        }
    }
}
