//! HAProxy, configured for session resumption.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::addresses::{HOST_ADDRESS, SESSION_ID_PORT, TICKET_PORT};
use crate::{
    certificate::{self, CERTIFICATE, KEY},
    interrupt,
    process::{self, Process},
};

/// File with certificate and key, the format that HAProxy reads.
const BUNDLE: &str = "bundle.pem";

/// Limit for the start of HAProxy.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts HAProxy and waits until it listens.
pub(super) fn start(directory: &Path) -> Result<Process> {
    create_bundle(directory)?;
    let file = directory.join("haproxy.cfg");
    fs::write(&file, configuration(directory))
        .with_context(|| format!("failed to write {}", file.display()))?;
    let log = directory.join("haproxy.log");
    let out = fs::File::create(&log).context("failed to create HAProxy's log")?;
    let mut haproxy = Process::spawn(
        "HAProxy",
        process::with_parent_death_signal(Path::new("haproxy"), "KILL")
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out),
    )?;
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect((HOST_ADDRESS, TICKET_PORT)).is_err() {
        let ended = haproxy.exit_status()?.is_some();
        if ended || interrupt::received() || Instant::now() > deadline {
            let output = fs::read_to_string(&log).unwrap_or_default();
            bail!(
                "failed to start HAProxy: {output}\n\
                 remedy: ports {SESSION_ID_PORT} and {TICKET_PORT} must be free"
            );
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(haproxy)
}

fn configuration(directory: &Path) -> String {
    let bundle = directory.join(BUNDLE);
    let bundle = bundle.display();
    let bind = |port: u16, options: &str| {
        ["127.0.0.1", HOST_ADDRESS]
            .map(|address| format!("    bind {address}:{port} ssl crt {bundle} {options}\n"))
            .concat()
    };
    let session_ids = bind(
        SESSION_ID_PORT,
        "ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.2 no-tls-tickets",
    );
    let tickets = bind(TICKET_PORT, "ssl-min-ver TLSv1.3");
    let response = "http-request return status 200 content-type text/plain string \"ok\\n\"";
    format!(
        "global\n    \
             maxconn 2000\n    \
             tune.ssl.cachesize 100000\n    \
             tune.ssl.lifetime 1800\n\n\
         defaults\n    \
             mode http\n    \
             option httpclose\n    \
             timeout client 20s\n    \
             timeout server 20s\n    \
             timeout connect 5s\n\n\
         frontend session_ids\n{session_ids}    {response}\n\n\
         frontend tickets\n{tickets}    {response}\n"
    )
}

/// Creates a certificate and the bundle with its key.
fn create_bundle(directory: &Path) -> Result<()> {
    certificate::create(directory, &["127.0.0.1", HOST_ADDRESS])?;
    let read =
        |name| fs::read(directory.join(name)).with_context(|| format!("failed to read {name}"));
    let bundle = [read(CERTIFICATE)?, read(KEY)?].concat();
    fs::write(directory.join(BUNDLE), bundle).context("failed to write the bundle")
}
