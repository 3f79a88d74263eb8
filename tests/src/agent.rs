//! The agent under test: `reprise run` in the foreground, queried over HTTP as an operator would.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::alone::is_alone;
use crate::binary::binary;
use crate::host_lock;
use crate::http::{self, Response};
use crate::metrics::Metrics;
use crate::own_cgroup;
use crate::poll::{DEADLINE, poll_until};
use crate::ports::free_port;
use crate::process::Process;
use crate::user;

/// Runs the binary with `args` until it ends.
///
/// # Panics
/// If it cannot be started or does not end in time.
pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    let mut process = Process::spawn(user::agent().args(args));
    let (status, _) = process.wait(DEADLINE);
    Output {
        status,
        stdout: process.stdout().into(),
        stderr: process.stderr().into(),
    }
}

/// Returns arguments that exclude cargo and rustup, which contain OpenSSL and may run during the
/// tests.
#[must_use]
pub fn ignore_toolchain() -> Vec<OsString> {
    let cargo = Path::new(env!("CARGO")).parent().map(Path::to_owned);
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let ignored = [cargo, home.map(|home| home.join("bin"))];
    let words = ignored.into_iter().flatten();
    words
        .flat_map(|path| [OsString::from("--ignore"), path.into()])
        .collect()
}

/// Returns the arguments that restrict the observation to the test's cgroup; none for a test that
/// runs alone, whose agents observe the whole host.
#[must_use]
pub fn scope() -> Vec<OsString> {
    host_lock::acquire();
    let own = own_cgroup::enter().filter(|_| !is_alone());
    let words = own.map(|own| [OsString::from("--cgroup"), own.into()]);
    words.into_iter().flatten().collect()
}

/// Returns a command that records the observed events to a file, which continues until a signal.
#[must_use]
pub fn recorder(path: &Path) -> Command {
    let mut command = user::agent();
    command.args(["record", "--output"]).arg(path).args(scope());
    command
}

/// A running agent; stopped when dropped.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    /// Address of its HTTP server.
    pub address: SocketAddr,
}

impl Agent {
    /// Starts `reprise run` and returns once `/readyz` reports that the probes are attached.
    ///
    /// # Panics
    /// If it ends or does not get ready.
    #[must_use]
    pub fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::start_under(&[], args)
    }

    /// Like [`Self::start`], with a command prefix that runs as root, such as `unshare`.
    ///
    /// # Panics
    /// If it ends or does not get ready.
    #[must_use]
    pub fn start_under<S: AsRef<OsStr>>(
        prefix: &[&str],
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        let user = user::command_prefix();
        let words = prefix.iter().copied();
        let words: Vec<_> = words.chain(user.iter().map(String::as_str)).collect();
        Self::start_by(&words, args)
    }

    /// Like [`Self::start`], with a command prefix that decides user and capabilities.
    ///
    /// # Panics
    /// If it ends or does not get ready.
    #[must_use]
    pub fn start_by<S: AsRef<OsStr>>(words: &[&str], args: impl IntoIterator<Item = S>) -> Self {
        let binary = binary();
        // Without a prefix the command is the binary itself.
        let mut words: Vec<_> = words.iter().map(OsStr::new).collect();
        words.push(binary.as_os_str());
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        let mut agent = Self::spawn(&mut command, args);
        agent.wait_ready();
        agent
    }

    /// Starts `reprise run` and returns at once, even if it fails later.
    #[must_use]
    pub fn launch<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::spawn(&mut user::agent(), args)
    }

    fn spawn<S: AsRef<OsStr>>(command: &mut Command, args: impl IntoIterator<Item = S>) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let args: Vec<_> = args
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        let has_scope = args.iter().any(|word| word == "--cgroup");
        let scope = if has_scope { Vec::new() } else { scope() };
        let process = Process::spawn(
            command
                .args(["run", "--listen", &address.to_string()])
                .args(ignore_toolchain())
                .args(scope)
                .args(args),
        );
        Self { process, address }
    }

    /// Waits until `/readyz` reports that the probes are attached.
    ///
    /// # Panics
    /// If it ends or does not get ready.
    pub fn wait_ready(&mut self) {
        // An emulated machine with an old verifier needs minutes.
        poll_until("the agent is ready", Duration::from_secs(240), || {
            if let Some(status) = self.process.exit_status() {
                panic!("the agent ended early: {status}; stderr: {}", self.stderr());
            }
            match self.get("/readyz") {
                Ok(response) if response.status == 200 => Ok(()),
                other => Err(format!("{other:?}; stderr: {}", self.stderr())),
            }
        });
    }

    /// Sends a GET request for `path`.
    ///
    /// # Errors
    /// As [`http::request`].
    pub fn get(&self, path: &str) -> Result<Response, String> {
        http::request(self.address, "GET", path, "*/*")
    }

    /// Returns the parsed metrics page.
    ///
    /// # Panics
    /// If the request fails or the page is malformed.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let response = self
            .get("/metrics")
            .unwrap_or_else(|error| panic!("no metrics: {error}; stderr: {}", self.stderr()));
        assert_eq!(response.status, 200, "metrics page: {response:?}");
        Metrics::parse(&response.body)
            .unwrap_or_else(|error| panic!("malformed metrics page: {error}"))
    }

    /// Waits until at least `count` TLS library builds are observed.
    ///
    /// # Panics
    /// If that does not happen in time.
    pub fn wait_libraries(&self, count: usize) {
        poll_until("a TLS library is attached", DEADLINE, || {
            let metrics = self.metrics();
            let seen = metrics.matching("reprise_library_info", &[]).count();
            let attached = metrics.sum("reprise_probe_attached", &[("verdict", "attached")]);
            if seen >= count && attached > 0.0 {
                return Ok(());
            }
            Err(format!(
                "{seen} libraries, {attached} attached probes; stderr: {}",
                self.stderr()
            ))
        });
    }

    /// Everything that it has logged.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Sends a signal to the agent.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the number of events for which the kernel skipped the agent's programs: tracepoints
    /// that fired while the CPU was inside another program or a system call on a map
    /// (`trace_call_bpf`, kernel/trace/bpf_trace.c). No program can observe them.
    ///
    /// # Panics
    /// If the agent has ended.
    #[must_use]
    pub fn skipped_events(&self) -> u32 {
        let directory = format!("/proc/{}/fdinfo", self.pid());
        let entries = fs::read_dir(directory).expect("the agent has ended");
        let files = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        files
            .filter_map(|file| {
                let mut lines = file.lines();
                let count = lines.find_map(|line| line.strip_prefix("recursion_misses:"))?;
                count.trim().parse::<u32>().ok()
            })
            .sum()
    }

    /// Sends SIGTERM; returns the exit code and the time until the end.
    ///
    /// # Panics
    /// If it does not end in time.
    #[must_use]
    pub fn terminate(self) -> (Option<i32>, Duration) {
        self.signal(Signal::SIGTERM);
        self.wait_exit()
    }

    /// Waits until it ends; returns the exit code and the time that this took.
    ///
    /// # Panics
    /// If it does not end in time.
    #[must_use]
    pub fn wait_exit(mut self) -> (Option<i32>, Duration) {
        let (status, took) = self.process.wait(DEADLINE);
        (status.code(), took)
    }

    /// Asserts that it is running and ready and has not panicked.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_healthy(&self) {
        let ready = self
            .get("/readyz")
            .unwrap_or_else(|error| panic!("{error}; stderr: {}", self.stderr()));
        assert_eq!(ready.status, 200, "readyz: {ready:?}");
        assert!(
            !self.stderr().contains("panicked"),
            "the agent panicked: {}",
            self.stderr()
        );
    }
}
