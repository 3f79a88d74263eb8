//! Server nginx, in one process, with a log of its handshakes.

use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::context::{Bench, Case, check_interrupt, pinned};
use crate::{
    certificate::{CERTIFICATE, KEY},
    process::Process,
};

/// Limit for the start of nginx.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running nginx; killed on drop.
pub(super) struct Nginx {
    process: Process,
    log: PathBuf,
    /// Port with TLS 1.2 and session IDs.
    session_id_port: u16,
    /// Port with TLS 1.3 and tickets.
    ticket_port: u16,
}

/// Completed handshakes in nginx's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HandshakeCounts {
    /// Full handshakes.
    pub(super) full: u64,
    /// Resumed handshakes.
    pub(super) resumed: u64,
}

impl HandshakeCounts {
    /// Full and resumed handshakes.
    pub(super) fn total(self) -> u64 {
        self.full + self.resumed
    }
}

impl Nginx {
    /// Starts nginx. `library`, the value of `LD_PRELOAD`, replaces the system's OpenSSL.
    pub(super) fn start(bench: &Bench<'_>, name: &str, library: Option<&OsStr>) -> Result<Self> {
        let directory = bench.directory.join(name);
        fs::create_dir(&directory).context("failed to create nginx's directory")?;
        let (session_id_port, ticket_port) = (free_port()?, free_port()?);
        let file = directory.join("nginx.conf");
        let text = configuration(bench.directory, &directory, session_id_port, ticket_port);
        fs::write(&file, text).context("failed to write nginx's configuration")?;
        let errors = directory.join("error.log");
        let mut command = pinned("nginx");
        command.arg("-e").arg(&errors).arg("-c").arg(&file);
        if let Some(library) = library {
            command.env("LD_PRELOAD", library);
        }
        let process = Process::spawn(
            "nginx",
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        let mut server = Self {
            process,
            log: directory.join("access.log"),
            session_id_port,
            ticket_port,
        };
        server.wait_until_listening(&errors)?;
        Ok(server)
    }

    fn wait_until_listening(&mut self, errors: &Path) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.ticket_port)).is_err() {
            check_interrupt()?;
            if self.process.exit_status()?.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(errors).unwrap_or_default();
                bail!("failed to start nginx: {log}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Fails if nginx has ended.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.process.exit_status()? {
            let log = fs::read_to_string(self.log.with_file_name("error.log")).unwrap_or_default();
            bail!("nginx ended unexpectedly ({status}): {log}");
        }
        Ok(())
    }

    /// Port for this kind of handshake.
    pub(super) fn port(&self, case: &Case) -> u16 {
        if case.is_tls13 {
            self.ticket_port
        } else {
            self.session_id_port
        }
    }

    /// CPU time including traps, nanoseconds (first field of `/proc/PID/schedstat`).
    pub(super) fn cpu_ns(&self) -> Result<u64> {
        let path = format!("/proc/{}/schedstat", self.process.pid());
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
        text.split(' ')
            .next()
            .and_then(|field| field.parse().ok())
            .with_context(|| format!("failed to parse {path}"))
    }

    /// Returns the handshakes since the last call.
    pub(super) fn take_handshakes(&self) -> Result<HandshakeCounts> {
        let text = fs::read_to_string(&self.log).context("failed to read nginx's log")?;
        // nginx appends to the file, so truncation is safe.
        fs::write(&self.log, "").context("failed to truncate nginx's log")?;
        Ok(count(&text))
    }
}

/// Counts the values of `$ssl_session_reused`, `r` or `.`, in the log.
fn count(log: &str) -> HandshakeCounts {
    let lines = |value: &str| log.lines().filter(|line| *line == value).count() as u64;
    HandshakeCounts {
        full: lines("."),
        resumed: lines("r"),
    }
}

fn free_port() -> Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .context("failed to find a free port")
}

/// Returns the configuration of nginx, without a master process, so that killing one process
/// suffices.
fn configuration(
    certificates: &Path,
    directory: &Path,
    session_id_port: u16,
    ticket_port: u16,
) -> String {
    let certificate = certificates.join(CERTIFICATE);
    let key = certificates.join(KEY);
    let (certificate, key) = (certificate.display(), key.display());
    let directory = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {directory}/{name};\n"))
        .concat();
    let server = |port, tls| {
        format!(
            "  server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate {certificate};\n    \
             ssl_certificate_key {key};\n    {tls}\n    location / {{ return 200 \"ok\\n\"; }}\n  }}\n"
        )
    };
    let session_ids = server(
        session_id_port,
        "ssl_protocols TLSv1.2; ssl_session_tickets off; ssl_session_cache shared:tls:16m;",
    );
    let tickets = server(
        ticket_port,
        "ssl_protocols TLSv1.3; ssl_session_tickets on;",
    );
    format!(
        "daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log {directory}/error.log;\n\
         events {{ worker_connections 512; }}\nhttp {{\n  log_format reused '$ssl_session_reused';\n  \
         access_log {directory}/access.log reused;\n{temporary}{session_ids}{tickets}}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_and_resumed_handshakes_are_counted() {
        let counts = count(".\nr\nr\n");
        assert_eq!(
            counts,
            HandshakeCounts {
                full: 1,
                resumed: 2
            }
        );
        assert_eq!(counts.total(), 3);
        assert_eq!(count(""), HandshakeCounts::default());
    }
}
