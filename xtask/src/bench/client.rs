//! Client `openssl s_time`, which opens one connection after the other.

use std::{
    ffi::OsStr,
    fs::{self, File},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    context::{Bench, Case, check_interrupt, pinned},
    numbers,
    server::{HandshakeCounts, Nginx},
};
use crate::process::Process;

/// Limit for the client, in addition to the requested duration.
const EXTRA_TIMEOUT: Duration = Duration::from_secs(20);

/// Result of one measurement.
pub(super) struct Run {
    /// Handshakes in nginx's log.
    pub(super) handshakes: HandshakeCounts,
    /// Handshakes per second of wall-clock time.
    pub(super) rate: f64,
    /// CPU time of nginx per handshake with its response, seconds.
    pub(super) server_cpu: f64,
}

/// Connects for `seconds`. `library`, the value of `LD_PRELOAD`, replaces the system's OpenSSL.
///
/// The duration is measured here, since `s_time` reports whole seconds only.
pub(super) fn run(
    bench: &Bench<'_>,
    case: &Case,
    server: &mut Nginx,
    library: Option<&OsStr>,
    seconds: u64,
) -> Result<Run> {
    server.take_handshakes()?;
    let log = bench.directory.join("s_time.log");
    let out = File::create(&log).context("failed to create the log of s_time")?;
    let mut command = pinned("openssl");
    command
        .args(["s_time", "-connect"])
        .arg(format!("127.0.0.1:{}", server.port(case)))
        .arg(if case.is_tls13 { "-tls1_3" } else { "-tls1_2" })
        .arg(if case.is_resumed { "-reuse" } else { "-new" })
        .args(["-www", "/", "-time", &seconds.to_string()])
        .stdin(Stdio::null())
        .stdout(out.try_clone().context("failed to share a log")?)
        .stderr(out);
    if let Some(library) = library {
        command.env("LD_PRELOAD", library);
    }
    let (cpu_before, start) = (server.cpu_ns()?, Instant::now());
    let status = {
        let mut client = Process::spawn("openssl s_time", &mut command)?;
        loop {
            if let Some(status) = client.exit_status()? {
                break status;
            }
            check_interrupt()?;
            ensure!(
                start.elapsed() < Duration::from_secs(seconds) + EXTRA_TIMEOUT,
                "openssl s_time did not end in time"
            );
            thread::sleep(Duration::from_millis(2));
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    server.check_alive()?;
    // nginx logs the last request when the connection is closed.
    thread::sleep(Duration::from_millis(100));
    let cpu = server.cpu_ns()? - cpu_before;
    let handshakes = server.take_handshakes()?;
    let output = fs::read_to_string(&log).context("failed to read the output of s_time")?;
    ensure!(
        status.success(),
        "openssl s_time failed ({status}): {output}"
    );
    let counted = numbers::connections(&output).context("failed to parse the output of s_time")?;
    check(case, handshakes, counted)?;
    Ok(Run {
        handshakes,
        rate: handshakes.total() as f64 / seconds,
        server_cpu: cpu as f64 / 1e9 / handshakes.total() as f64,
    })
}

/// Checks that client and server agree on number and kind of the handshakes. `s_time` does not
/// count the full handshake that precedes the resumed ones.
fn check(case: &Case, logged: HandshakeCounts, counted: u64) -> Result<()> {
    let expected = if case.is_resumed {
        HandshakeCounts {
            full: 1,
            resumed: counted,
        }
    } else {
        HandshakeCounts {
            full: counted,
            resumed: 0,
        }
    };
    ensure!(
        counted > 0 && logged == expected,
        "{}: expected {expected:?} after s_time, nginx logged {logged:?}",
        case.name
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::context::CASES;

    #[test]
    fn a_run_with_the_wrong_kind_of_handshake_is_rejected() {
        let [full, resumed, ..] = &CASES;
        let logged = |full, resumed| HandshakeCounts { full, resumed };
        assert!(check(full, logged(9, 0), 9).is_ok());
        assert!(check(full, logged(8, 1), 9).is_err());
        assert!(check(resumed, logged(1, 9), 9).is_ok());
        assert!(check(resumed, logged(10, 0), 9).is_err());
        assert!(check(full, logged(0, 0), 0).is_err());
    }
}
