//! HTTP client for the agent's pages.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};

/// Limit for one request.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Returns the text of the metrics page.
pub(crate) fn metrics(address: SocketAddr) -> Result<String> {
    get(address, "/metrics")
}

/// Whether the agent reports that its probes are attached.
pub(crate) fn is_ready(address: SocketAddr) -> bool {
    get(address, "/readyz").is_ok()
}

/// Returns the body of a successful response.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let url = format!("http://{address}{path}");
    // A proxy from the environment would not reach an agent on loopback.
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .proxy(None)
        .build();
    config
        .new_agent()
        .get(&url)
        .call()
        .and_then(|mut response| response.body_mut().read_to_string())
        .with_context(|| format!("failed to read {url}"))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// Starts a server that answers one request with `response`; returns the result of `request`.
    fn with_response<T>(response: &'static str, request: impl FnOnce(SocketAddr) -> T) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            stream.write_all(response.as_bytes()).unwrap();
        });
        let result = request(address);
        server.join().unwrap();
        result
    }

    #[test]
    fn only_status_200_is_success() {
        const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\na 1\n";
        const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\nConnection: close\r\n\r\n 200 ";
        assert_eq!(with_response(OK, metrics).unwrap(), "a 1\n");
        assert!(with_response(OK, is_ready));
        let error = with_response(UNAVAILABLE, metrics).unwrap_err();
        assert!(format!("{error:#}").contains("503"), "{error:#}");
        assert!(!with_response(UNAVAILABLE, is_ready));
        assert!(!with_response("", is_ready));
    }
}
