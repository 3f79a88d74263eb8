//! The processes of the load.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::process::Process;

/// Source address of the control client.
pub(super) const CONTROL_SOURCE: &str = "127.0.0.77";
/// Script of all kinds of load.
const SCRIPT: &str = include_str!("load.py");
/// Debian's Python, which uses the OpenSSL of the system.
const PYTHON: &str = "/usr/bin/python3";
/// Limit for a process to end after the end of its input.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Kinds of load on the server that is replaced continuously.
const CHURN: [&str; 6] = [
    "reloads",
    "processes",
    "libraries",
    "containers",
    "tls_attacks",
    "http_attacks",
];

/// The running load; dropping it ends every process.
pub(super) struct Load {
    control: Process,
    others: Vec<Process>,
    directory: PathBuf,
}

impl Load {
    /// Starts the control server and its client, and all kinds of churn, in this cgroup.
    pub(super) fn start(
        directory: &Path,
        agent: SocketAddr,
        cgroup: Option<&Path>,
    ) -> Result<Self> {
        let script = directory.join("load.py");
        fs::write(&script, SCRIPT).context("failed to write the script of the load")?;
        let (control_port, churn_port) = (free_port()?, free_port()?);
        let spawn = |kind: &str, port: u16| {
            let mut command = Command::new(PYTHON);
            command
                .arg(&script)
                .arg(kind)
                .arg("--directory")
                .arg(directory)
                .args(["--port", &port.to_string(), "--source", CONTROL_SOURCE])
                .args(["--agent", &agent.port().to_string()])
                .args(cgroup.iter().flat_map(|path| [Path::new("--cgroup"), path]))
                // A process ends at the end of its input, so it does not outlive this one.
                .stdin(Stdio::piped());
            Process::spawn("the load", &mut command)
        };
        let mut others = vec![spawn("server", control_port)?];
        thread::sleep(Duration::from_secs(1));
        let control = spawn("control", control_port)?;
        for kind in CHURN {
            others.push(spawn(kind, churn_port)?);
        }
        Ok(Self {
            control,
            others,
            directory: directory.to_owned(),
        })
    }

    /// Lets the control client finish its last handshake.
    pub(super) fn stop_control(&mut self) -> Result<()> {
        self.control.close_stdin();
        let status = wait(&mut self.control, Instant::now() + STOP_TIMEOUT)?;
        let status = status.context("the control client did not end")?;
        ensure!(status.success(), "the control client failed ({status})");
        Ok(())
    }

    /// Number of handshakes that the control client has made.
    pub(super) fn control_handshakes(&self) -> Result<u64> {
        let count = fs::read_to_string(self.directory.join("control"))
            .context("the control client made no handshake")?;
        count.trim().parse().context("failed to parse a count")
    }
}

impl Drop for Load {
    /// Lets the processes remove what they created; those that remain are killed.
    fn drop(&mut self) {
        self.others.iter_mut().for_each(Process::close_stdin);
        let deadline = Instant::now() + STOP_TIMEOUT;
        for process in &mut self.others {
            let _ = wait(process, deadline);
        }
    }
}

/// Waits for the end of a process; `None` if it still runs at the deadline.
fn wait(process: &mut Process, deadline: Instant) -> Result<Option<ExitStatus>> {
    loop {
        let status = process.exit_status()?;
        if status.is_some() || Instant::now() > deadline {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn free_port() -> Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .context("failed to find a free port")
}
