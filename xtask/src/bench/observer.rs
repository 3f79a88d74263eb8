//! The agent under measurement: started, read, and asked to end.

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

use super::{Bench, go_on};
use crate::{
    page,
    process::{self, Process},
};

/// How long it may take to attach.
const START: Duration = Duration::from_secs(20);

/// How long it may take to end before it is killed (the contract says 2 s).
const GRACE: Duration = Duration::from_secs(4);

/// How long the page, which is made anew each second, may take to show what happened.
const SHOWN: Duration = Duration::from_secs(5);

/// A running agent.
pub(super) struct Observer {
    process: Process,
    address: SocketAddr,
    log: PathBuf,
}

impl Observer {
    /// Starts it as `reprise run` and waits until it is ready, and at rest.
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
        let end = Instant::now() + START;
        while !page::is_ready(address) {
            go_on()?;
            if process.exit_status()?.is_some() || Instant::now() > end {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("the agent did not become ready: {said}");
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

    /// What it logged so far.
    pub(super) fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).context("failed to read the agent's log")
    }

    /// Its metrics page.
    pub(super) fn page(&self) -> Result<String> {
        page::metrics(self.address)
    }

    /// Its page once `count` of it reaches `wanted`; at the deadline, what it shows then.
    pub(super) fn page_with(&self, wanted: u64, count: impl Fn(&str) -> u64) -> Result<String> {
        let end = Instant::now() + SHOWN;
        loop {
            go_on()?;
            thread::sleep(Duration::from_millis(200));
            let page = self.page()?;
            if count(&page) >= wanted || Instant::now() > end {
                return Ok(page);
            }
        }
    }

    /// Ends it by SIGTERM; seconds until it was gone.
    pub(super) fn end(mut self) -> Result<f64> {
        let began = Instant::now();
        let status = self.process.stop(Signal::SIGTERM, GRACE)?;
        let took = began.elapsed().as_secs_f64();
        ensure!(status.success(), "the agent did not end well ({status})");
        Ok(took)
    }
}
