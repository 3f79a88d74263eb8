//! Duration of the first scan of all processes, on a host with many.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    context::{Bench, check_interrupt},
    numbers::median,
    observer::Observer,
};
use crate::process::{self, Process};

/// Starts a thousand copies of a process with OpenSSL, which end with it.
const PROCESSES_SCRIPT: &str = "
import os, ssl
read, write = os.pipe()
for _ in range(1000):
    if os.fork() == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
print('ready', flush=True)
os.read(read, 1)
";

/// Number of measurements.
const ROUNDS: usize = 5;

/// Limit for the start of the processes.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Scan of all processes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scan {
    /// Number of processes.
    pub(super) processes: f64,
    /// Duration.
    pub(super) milliseconds: f64,
}

/// Starts a thousand processes and returns the median over several starts of the agent.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Scan> {
    let output = bench.directory.join("processes.log");
    let out = File::create(&output).context("failed to create a log")?;
    let mut processes = Process::spawn(
        "a thousand processes",
        process::with_parent_death_signal(Path::new("/usr/bin/python3"), "KILL")
            .args(["-c", PROCESSES_SCRIPT])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null()),
    )?;
    let deadline = Instant::now() + START_TIMEOUT;
    while !fs::read_to_string(&output).is_ok_and(|text| text == "ready\n") {
        check_interrupt()?;
        ensure!(
            processes.exit_status()?.is_none() && Instant::now() < deadline,
            "failed to start a thousand processes"
        );
        thread::sleep(Duration::from_millis(20));
    }
    let mut scans = Vec::new();
    for _ in 0..ROUNDS {
        // The agent is ready after its first scan.
        let observer = Observer::start(bench)?;
        let log = observer.log()?;
        scans.push(parse(&log).with_context(|| format!("failed to find the scan in {log}"))?);
        observer.stop()?;
    }
    let median = |value: fn(&Scan) -> f64| {
        let values: Vec<_> = scans.iter().map(value).collect();
        median(&values).context("no measurements")
    };
    Ok(Scan {
        processes: median(|scan| scan.processes)?,
        milliseconds: median(|scan| scan.milliseconds)?,
    })
}

/// Parses the line `… first scan done processes=1064 took_ms=83 …` of the log.
fn parse(log: &str) -> Option<Scan> {
    let line = log.lines().find(|line| line.contains("first scan done"))?;
    let value = |name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}="))?;
        rest.split(' ').next()?.parse().ok()
    };
    Some(Scan {
        processes: value("processes")?,
        milliseconds: value("took_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scan_is_parsed_from_the_log() {
        let log = "starting\n2026-11-24 INFO reprise: first scan done processes=1064 took_ms=83 libraries=2\n";
        let expected = Scan {
            processes: 1064.0,
            milliseconds: 83.0,
        };
        assert_eq!(parse(log), Some(expected));
        assert_eq!(parse("starting\n"), None);
    }
}
