//! The agent's metrics page, read once.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// The families that the demo is about.
const FAMILIES: &[&str] = &[
    "reprise_handshakes_total",
    "reprise_peer_resume_ratio",
    "reprise_handshakes_with_loss_total",
];

const PATIENCE: Duration = Duration::from_secs(3);

/// Reads the page. HTTP by hand: one request to our own server is worth no client library.
pub(super) fn fetch(address: SocketAddr) -> Result<String> {
    let failed = || format!("failed to read http://{address}/metrics");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(failed)?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .with_context(failed)?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(failed)?;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("failed to read http://{address}/metrics: it answered `{status}`");
    }
    Ok(answer)
}

/// The samples of the demo's families, as they stand on the page; counters at zero left out.
pub(super) fn summary(page: &str) -> String {
    let samples: String = page
        .lines()
        .filter(|line| !line.ends_with(" 0"))
        .filter(|line| FAMILIES.contains(&line.split(['{', ' ']).next().unwrap_or_default()))
        .map(|line| format!("  {line}\n"))
        .collect();
    if samples.is_empty() {
        return "  none of the families that the demo is about\n".to_owned();
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_keeps_samples_of_its_families_only() {
        let page = "HTTP/1.1 200 OK\r\n\r\n# TYPE reprise_handshakes counter\n\
            reprise_handshakes_total{role=\"server\"} 3\n\
            reprise_handshakes_total{role=\"client\"} 0\n\
            reprise_handshakes_total_other 4\nreprise_peer_resume_ratio{peer=\"a\"} 0.5\n";
        let expected = "  reprise_handshakes_total{role=\"server\"} 3\n  \
            reprise_peer_resume_ratio{peer=\"a\"} 0.5\n";
        assert_eq!(summary(page), expected);
        assert!(summary("").contains("none"));
    }
}
