//! Requests to the HTTP API of a running agent.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use serde::de::DeserializeOwned;

use crate::commands::failure::Failure;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest response that is read, bytes.
const MAX_RESPONSE: u64 = 16 << 20;

/// The JSON document at a path of the agent at `url`.
pub(super) fn get<T: DeserializeOwned>(url: &str, path: &str) -> Result<T, Failure> {
    let failure = |reason: String| Failure::Runtime(format!("{url}{path}: {reason}"));
    let host = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .ok_or_else(|| {
            Failure::Usage(format!(
                "--connect {url}: not an http:// URL; for an agent with access rules, request \
                 /api/v1/services/ID/advice instead"
            ))
        })?;
    let response = request(host, path).map_err(|error| failure(error.to_string()))?;
    let (head, body) = response
        .split_once("\r\n\r\n")
        .ok_or_else(|| failure("no HTTP response".to_owned()))?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(failure(status.to_owned()));
    }
    serde_json::from_str(body).map_err(|error| failure(error.to_string()))
}

fn request(host: &str, path: &str) -> io::Result<String> {
    let address = host
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::other("no such host"))?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // The response ends with the connection.
    let head = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut response = String::new();
    stream.take(MAX_RESPONSE).read_to_string(&mut response)?;
    Ok(response)
}
