//! A minimal HTTP client: one HTTP/1.0 request per connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The parts of a response that the tests use.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header lines in lower case.
    pub headers: Vec<String>,
    /// The body.
    pub body: String,
}

impl Response {
    /// Returns the value of the header `name` (lower case), if present.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    }
}

/// Sends one request and reads the response to its end.
///
/// # Errors
/// If the server cannot be reached, does not answer within five seconds, or answers with malformed
/// HTTP.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    accept: &str,
) -> Result<Response, String> {
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\nContent-Length: 0\r\n\r\n"
    );
    send(address, path, &head)
}

/// Sends a GET request for `path` that names `host`, and reads the response to its end.
///
/// # Errors
/// As [`request`].
pub fn request_host(address: SocketAddr, host: &str, path: &str) -> Result<Response, String> {
    let head = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    send(address, path, &head)
}

fn send(address: SocketAddr, path: &str, head: &str) -> Result<Response, String> {
    let say = |verb: &str| {
        let at = format!("failed to {verb} {address}{path}");
        move |error: std::io::Error| format!("{at}: {error}")
    };
    let timeout = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, timeout).map_err(say("connect to"))?;
    stream
        .set_read_timeout(Some(timeout))
        .map_err(say("set up"))?;
    stream.write_all(head.as_bytes()).map_err(say("write to"))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(say("read from"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("no header in {answer:?}"))?;
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or_else(|| format!("no status in {head:?}"))?;
    Ok(Response {
        status,
        headers: lines.map(str::to_lowercase).collect(),
        body: body.to_owned(),
    })
}
