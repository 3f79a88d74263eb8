//! The agent under observation.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{load::CONTROL_SOURCE, sample::Sample};
use crate::{
    interrupt, page,
    process::{self, Process},
};

/// Limit for the start of the agent.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// Limit for the shutdown of the agent, which promises 2 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Name of the control client in the peer file.
const CONTROL_PEER: &str = "control";
/// Script that counts the entries of the agent's maps.
const MAP_ENTRIES: &str = include_str!("map_entries.py");

/// Bounds that the load reaches within a minute, so that memory does not grow with the duration of
/// the run only because tables fill.
const SMALL_TABLES: [&str; 6] = [
    "--max-peers",
    "1000",
    "--max-connections",
    "1000",
    "--max-sessions",
    "1000",
];

/// A running agent; killed on drop.
pub(super) struct Agent {
    process: Process,
    address: SocketAddr,
    directory: PathBuf,
}

impl Agent {
    /// Starts `reprise run` for this cgroup, or for the whole host, and waits until it is ready.
    pub(super) fn start(binary: &Path, directory: &Path, cgroup: Option<&Path>) -> Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .context("failed to find a free port")?;
        write_peer_file(directory, 0)?;
        let log = File::create(log_file(directory)).context("failed to create the agent's log")?;
        let process = Process::spawn(
            "the agent",
            process::with_parent_death_signal(binary, "TERM")
                .args(["run", "--listen", &address.to_string(), "--peer-file"])
                .arg(peer_file(directory))
                .args(SMALL_TABLES)
                .args(cgroup.iter().flat_map(|path| [Path::new("--cgroup"), path]))
                .stdin(Stdio::null())
                .stdout(log.try_clone().context("failed to share a log")?)
                .stderr(log),
        )?;
        let mut agent = Self {
            process,
            address,
            directory: directory.to_owned(),
        };
        let deadline = Instant::now() + START_TIMEOUT;
        while !page::is_ready(address) {
            let has_ended = agent.process.exit_status()?.is_some();
            if has_ended || interrupt::received() || Instant::now() > deadline {
                bail!("the agent did not become ready: {}", agent.log());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(agent)
    }

    /// Address of its HTTP server.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the peer file and makes the agent read it.
    pub(super) fn reload(&self, turn: u32) -> Result<()> {
        write_peer_file(&self.directory, turn)?;
        let pid = i32::try_from(self.process.pid()).context("failed to convert a process id")?;
        kill(Pid::from_raw(pid), Signal::SIGHUP).context("failed to signal the agent")
    }

    /// Measures the agent `at` this time since the start of the load.
    pub(super) fn sample(&self, at: Duration) -> Result<Sample> {
        let pid = self.process.pid();
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))
            .with_context(|| format!("the agent has ended: {}", self.log()))?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
            .context("failed to list the agent's descriptors")?;
        let output = Command::new("python3")
            .args(["-c", MAP_ENTRIES, &pid.to_string()])
            .output()
            .context("failed to start python3")?;
        ensure!(
            output.status.success(),
            "failed to count map entries: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Sample::parse(
            at,
            &smaps,
            descriptors.count(),
            &String::from_utf8_lossy(&output.stdout),
            self.log().lines().count(),
            &page::metrics(self.address)?,
        )
    }

    /// Number of counted handshakes of the control client.
    pub(super) fn control_handshakes(&self) -> Result<u64> {
        let page = page::metrics(self.address)?;
        let peer = format!("peer=\"{CONTROL_PEER}\",role=\"server\"");
        let samples = page.lines().filter(|line| {
            line.starts_with("reprise_peer_handshakes_total{") && line.contains(&peer)
        });
        Ok(samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>() as u64)
    }

    /// Ends the agent with SIGTERM.
    pub(super) fn stop(mut self) -> Result<()> {
        let status = self.process.stop(Signal::SIGTERM, STOP_TIMEOUT)?;
        ensure!(status.success(), "the agent failed ({status})");
        Ok(())
    }

    fn log(&self) -> String {
        fs::read_to_string(log_file(&self.directory)).unwrap_or_default()
    }
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("agent.log")
}

fn peer_file(directory: &Path) -> PathBuf {
    directory.join("peers.toml")
}

/// Writes a peer file whose second group changes with each turn.
fn write_peer_file(directory: &Path, turn: u32) -> Result<()> {
    let other = turn % 250;
    let text = format!(
        "[groups]\n{CONTROL_PEER} = [\"{CONTROL_SOURCE}/32\"]\nother = [\"127.1.{other}.0/24\"]\n"
    );
    fs::write(peer_file(directory), text).context("failed to write the peer file")
}
