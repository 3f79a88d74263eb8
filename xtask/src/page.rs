//! The agent's pages, read over HTTP, for demo and bench.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

const PATIENCE: Duration = Duration::from_secs(3);

/// Reads the metrics page.
pub(crate) fn fetch(address: SocketAddr) -> Result<String> {
    let answer = get(address, "/metrics")?;
    if !is_ok(&answer) {
        let status = answer.lines().next().unwrap_or_default();
        bail!("failed to read http://{address}/metrics: it answered `{status}`");
    }
    Ok(answer)
}

/// Whether the agent says that its probes are attached.
pub(crate) fn ready(address: SocketAddr) -> bool {
    get(address, "/readyz").is_ok_and(|answer| is_ok(&answer))
}

/// The whole answer. HTTP by hand: one request to our own server is worth no client library.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let failed = || format!("failed to read http://{address}{path}");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(failed)?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .with_context(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(failed)?;
    Ok(answer)
}

fn is_ok(answer: &str) -> bool {
    answer.split(' ').nth(1) == Some("200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_decides() {
        assert!(is_ok("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!is_ok("HTTP/1.1 503 Service Unavailable\r\n\r\n 200 "));
        assert!(!is_ok(""));
    }
}
