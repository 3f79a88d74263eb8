//! The agent during a measurement.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::context::{Bench, check_interrupt};
use crate::{
    page,
    process::{self, Process},
};

/// Limit for the start of the agent.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Limit for the shutdown of the agent, which promises 2 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// Limit for the metrics page to contain recent events; it is rendered every second.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// A running agent; killed on drop.
pub(super) struct Observer {
    process: Process,
    address: SocketAddr,
    log: PathBuf,
}

impl Observer {
    /// Starts `reprise run` and waits until it is ready and idle.
    pub(super) fn start(bench: &Bench<'_>) -> Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .context("failed to find a free port")?;
        let log = bench.directory.join("agent.log");
        let out = File::create(&log).context("failed to create the agent's log")?;
        let mut process = Process::spawn(
            "the agent",
            process::with_parent_death_signal(bench.agent, "TERM")
                .args(["run", "--listen", &address.to_string(), "--ignore"])
                .arg(bench.directory)
                .stdin(Stdio::null())
                .stdout(out.try_clone().context("failed to share a log")?)
                .stderr(out),
        )?;
        let deadline = Instant::now() + START_TIMEOUT;
        while !page::is_ready(address) {
            check_interrupt()?;
            if process.exit_status()?.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(&log).unwrap_or_default();
                bail!("the agent did not become ready: {log}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_secs(1));
        Ok(Self {
            process,
            address,
            log,
        })
    }

    /// Returns the log.
    pub(super) fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).context("failed to read the agent's log")
    }

    /// Returns the metrics page.
    pub(super) fn page(&self) -> Result<String> {
        page::metrics(self.address)
    }

    /// Returns the metrics page as soon as its `count` is at least `expected`, or the latest page
    /// at the deadline.
    pub(super) fn page_with(&self, expected: u64, count: impl Fn(&str) -> u64) -> Result<String> {
        let deadline = Instant::now() + PAGE_TIMEOUT;
        loop {
            check_interrupt()?;
            thread::sleep(Duration::from_millis(200));
            let page = self.page()?;
            if count(&page) >= expected || Instant::now() > deadline {
                return Ok(page);
            }
        }
    }

    /// Ends the agent with SIGTERM and returns the duration of the shutdown, seconds.
    pub(super) fn stop(mut self) -> Result<f64> {
        let start = Instant::now();
        let status = self.process.stop(Signal::SIGTERM, STOP_TIMEOUT)?;
        let seconds = start.elapsed().as_secs_f64();
        ensure!(status.success(), "the agent failed ({status})");
        Ok(seconds)
    }
}
