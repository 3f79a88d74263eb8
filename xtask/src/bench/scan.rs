//! The first look at all processes, on a host with many.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{Bench, go_on, numbers::median, observer::Observer};
use crate::process::{self, Process};

/// A process that has mapped OpenSSL, and a thousand copies of it that end with it.
const CROWD: &str = "
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

/// How often it is measured.
const ROUNDS: usize = 5;

/// How long the processes may take to start.
const START: Duration = Duration::from_secs(60);

/// What the agent says of its first look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scan {
    /// Processes that it looked at.
    pub(super) processes: f64,
    /// How long that took.
    pub(super) milliseconds: f64,
}

/// Starts the agent beside a thousand processes, several times: the median.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Scan> {
    let said = bench.directory.join("crowd.log");
    let out = File::create(&said).context("failed to create a log")?;
    let mut crowd = Process::spawn(
        "a thousand processes",
        process::with_parent_death_signal(Path::new("/usr/bin/python3"), "KILL")
            .args(["-c", CROWD])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null()),
    )?;
    let end = Instant::now() + START;
    while !fs::read_to_string(&said).is_ok_and(|said| said == "ready\n") {
        go_on()?;
        ensure!(
            crowd.exit_status()?.is_none() && Instant::now() < end,
            "failed to start a thousand processes"
        );
        thread::sleep(Duration::from_millis(20));
    }
    let mut scans = Vec::new();
    for _ in 0..ROUNDS {
        // It is ready once it has looked at all of them.
        let observer = Observer::start(bench)?;
        let log = observer.log()?;
        scans.push(scan(&log).with_context(|| format!("failed to find the scan in {log}"))?);
        observer.end()?;
    }
    let middle = |figure: fn(&Scan) -> f64| {
        let figures: Vec<_> = scans.iter().map(figure).collect();
        median(&figures).context("nothing was measured")
    };
    Ok(Scan {
        processes: middle(|scan| scan.processes)?,
        milliseconds: middle(|scan| scan.milliseconds)?,
    })
}

/// `… first scan done processes=1064 took_ms=83 …`
fn scan(log: &str) -> Option<Scan> {
    let line = log.lines().find(|line| line.contains("first scan done"))?;
    let figure = |name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}="))?;
        rest.split(' ').next()?.parse().ok()
    };
    Some(Scan {
        processes: figure("processes")?,
        milliseconds: figure("took_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_the_scan() {
        let log = "starting\n2026-11-24 INFO reprise: first scan done processes=1064 took_ms=83 libraries=2\n";
        let found = Scan {
            processes: 1064.0,
            milliseconds: 83.0,
        };
        assert_eq!(scan(log), Some(found));
        assert_eq!(scan("starting\n"), None);
    }
}
