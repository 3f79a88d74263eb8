//! `openssl s_time`: one connection after the other, for some seconds.

use std::{
    ffi::OsStr,
    fs::{self, File},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    Bench, Case, go_on, numbers, pinned,
    server::{Made, Nginx},
};
use crate::process::Process;

/// How much longer than asked it may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one measurement gave.
pub(super) struct Run {
    /// By nginx's log.
    pub(super) made: Made,
    /// Handshakes per second of the wall clock.
    pub(super) rate: f64,
    /// nginx's CPU time per handshake and its answer, seconds.
    pub(super) server_cpu: f64,
}

/// Connects for `seconds`; `library` is loaded in place of the system's OpenSSL.
///
/// The duration is measured here, since `s_time` reports whole seconds only.
pub(super) fn run(
    bench: &Bench<'_>,
    case: &Case,
    server: &mut Nginx,
    library: Option<&OsStr>,
    seconds: u64,
) -> Result<Run> {
    server.made()?;
    let said = bench.directory.join("s_time.log");
    let out = File::create(&said).context("failed to create the log of s_time")?;
    let mut command = pinned("openssl");
    command
        .args(["s_time", "-connect"])
        .arg(format!("127.0.0.1:{}", server.port(case)))
        .arg(if case.tls13 { "-tls1_3" } else { "-tls1_2" })
        .arg(if case.resumed { "-reuse" } else { "-new" })
        .args(["-www", "/", "-time", &seconds.to_string()])
        .stdin(Stdio::null())
        .stdout(out.try_clone().context("failed to share a log")?)
        .stderr(out);
    if let Some(library) = library {
        command.env("LD_PRELOAD", library);
    }
    let (cpu, began) = (server.cpu_ns()?, Instant::now());
    let status = {
        let mut client = Process::spawn("openssl s_time", &mut command)?;
        loop {
            if let Some(status) = client.exit_status()? {
                break status;
            }
            go_on()?;
            ensure!(
                began.elapsed() < Duration::from_secs(seconds) + PATIENCE,
                "openssl s_time did not end by itself"
            );
            thread::sleep(Duration::from_millis(2));
        }
    };
    let took = began.elapsed().as_secs_f64();
    server.check_alive()?;
    // The last answer is logged when its connection is closed.
    thread::sleep(Duration::from_millis(100));
    let cpu = server.cpu_ns()? - cpu;
    let made = server.made()?;
    let said = fs::read_to_string(&said).context("failed to read what s_time said")?;
    ensure!(status.success(), "openssl s_time failed ({status}): {said}");
    let counted = numbers::connections(&said).context("failed to parse what s_time said")?;
    check(case, made, counted)?;
    Ok(Run {
        made,
        rate: made.all() as f64 / took,
        server_cpu: cpu as f64 / 1e9 / made.all() as f64,
    })
}

/// Client and server must agree on how many there were and of which kind: one full handshake comes
/// before those that reuse its session, which `s_time` does not count.
fn check(case: &Case, made: Made, counted: u64) -> Result<()> {
    let expected = if case.resumed {
        Made {
            full: 1,
            resumed: counted,
        }
    } else {
        Made {
            full: counted,
            resumed: 0,
        }
    };
    ensure!(
        counted > 0 && made == expected,
        "{}: expected {expected:?} by s_time, nginx logged {made:?}",
        case.name
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::CASES;
    use super::*;

    #[test]
    fn a_run_that_does_not_resume_is_refused() {
        let [full, resumed, ..] = &CASES;
        let made = |full, resumed| Made { full, resumed };
        assert!(check(full, made(9, 0), 9).is_ok());
        assert!(check(full, made(8, 1), 9).is_err());
        assert!(check(resumed, made(1, 9), 9).is_ok());
        assert!(check(resumed, made(10, 0), 9).is_err());
        assert!(check(full, made(0, 0), 0).is_err());
    }
}
