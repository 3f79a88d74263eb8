//! nginx, one process, and what it says of the handshakes it made.

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

use super::{Bench, Case, go_on, pinned};
use crate::{
    certificate::{CERTIFICATE, KEY},
    process::Process,
};

/// How long nginx may take to listen.
const START: Duration = Duration::from_secs(10);

/// A running nginx with one port per kind of session.
pub(super) struct Nginx {
    process: Process,
    log: PathBuf,
    session_ids: u16,
    tickets: u16,
}

/// Completed handshakes by nginx's own account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    /// Without a session.
    pub(super) full: u64,
    /// With one.
    pub(super) resumed: u64,
}

impl Made {
    pub(super) fn all(self) -> u64 {
        self.full + self.resumed
    }
}

impl Nginx {
    /// Starts it; `library` is loaded in place of the system's OpenSSL.
    pub(super) fn start(bench: &Bench<'_>, name: &str, library: Option<&OsStr>) -> Result<Self> {
        let directory = bench.directory.join(name);
        fs::create_dir(&directory).context("failed to create nginx's directory")?;
        let (session_ids, tickets) = (free_port()?, free_port()?);
        let file = directory.join("nginx.conf");
        let text = configuration(bench.directory, &directory, session_ids, tickets);
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
            session_ids,
            tickets,
        };
        server.wait(&errors)?;
        Ok(server)
    }

    fn wait(&mut self, errors: &Path) -> Result<()> {
        let end = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.tickets)).is_err() {
            go_on()?;
            if self.process.exit_status()?.is_some() || Instant::now() > end {
                let said = fs::read_to_string(errors).unwrap_or_default();
                bail!("failed to start nginx: {said}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Fails when it has ended, and says how.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.process.exit_status()? {
            let said = fs::read_to_string(self.log.with_file_name("error.log")).unwrap_or_default();
            bail!("nginx ended by itself ({status}): {said}");
        }
        Ok(())
    }

    /// The port that serves this kind of handshake.
    pub(super) fn port(&self, case: &Case) -> u16 {
        if case.tls13 {
            self.tickets
        } else {
            self.session_ids
        }
    }

    /// Time on a CPU so far, nanoseconds (first field of `/proc/PID/schedstat`), traps included.
    pub(super) fn cpu_ns(&self) -> Result<u64> {
        let path = format!("/proc/{}/schedstat", self.process.pid());
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
        text.split(' ')
            .next()
            .and_then(|field| field.parse().ok())
            .with_context(|| format!("failed to parse {path}"))
    }

    /// The handshakes since this was asked last.
    pub(super) fn made(&self) -> Result<Made> {
        let text = fs::read_to_string(&self.log).context("failed to read nginx's log")?;
        // nginx appends, so an emptied log goes on from its beginning.
        fs::write(&self.log, "").context("failed to empty nginx's log")?;
        Ok(count(&text))
    }
}

/// `$ssl_session_reused` is `r` or `.`.
fn count(log: &str) -> Made {
    let lines = |wanted: &str| log.lines().filter(|line| *line == wanted).count() as u64;
    Made {
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

/// One process, without a master: what is killed is all there is.
fn configuration(certificates: &Path, own: &Path, session_ids: u16, tickets: u16) -> String {
    let certificate = certificates.join(CERTIFICATE);
    let key = certificates.join(KEY);
    let (certificate, key, own) = (certificate.display(), key.display(), own.display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {own}/{name};\n"))
        .concat();
    let server = |port, tls| {
        format!(
            "  server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate {certificate};\n    \
             ssl_certificate_key {key};\n    {tls}\n    location / {{ return 200 \"ok\\n\"; }}\n  }}\n"
        )
    };
    let first = server(
        session_ids,
        "ssl_protocols TLSv1.2; ssl_session_tickets off; ssl_session_cache shared:tls:16m;",
    );
    let second = server(tickets, "ssl_protocols TLSv1.3; ssl_session_tickets on;");
    format!(
        "daemon off;\nmaster_process off;\npid {own}/pid;\nerror_log {own}/error.log;\n\
         events {{ worker_connections 512; }}\nhttp {{\n  log_format reused '$ssl_session_reused';\n  \
         access_log {own}/access.log reused;\n{temporary}{first}{second}}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_full_from_resumed() {
        let made = count(".\nr\nr\n");
        assert_eq!(
            made,
            Made {
                full: 1,
                resumed: 2
            }
        );
        assert_eq!(made.all(), 3);
        assert_eq!(count(""), Made::default());
    }
}
