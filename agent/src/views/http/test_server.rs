//! A server on a loopback port, for tests.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tokio::runtime;
use tokio_util::sync::CancellationToken;

use crate::{
    observed::{Observed, Shared},
    views::http::{self, AccessRules, AllowedHosts},
};

/// A server; ends when dropped.
pub(super) struct TestServer {
    address: SocketAddr,
    shutdown: CancellationToken,
}

impl TestServer {
    pub(super) fn start(observed: Observed) -> Self {
        let shared = Shared::new(observed);
        let shutdown = CancellationToken::new();
        let runtime = runtime::Builder::new_current_thread().enable_io().build();
        let bound = async { http::bind("127.0.0.1:0".parse().unwrap()) };
        let listener = runtime.unwrap().block_on(bound).unwrap();
        let address = listener.local_addr().unwrap();
        let rules = AccessRules {
            hosts: AllowedHosts::new(address, Vec::new()),
            config: None,
        };
        http::start(listener, shared, rules, shutdown.clone()).unwrap();
        Self { address, shutdown }
    }

    /// The whole response to a request.
    pub(super) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let timeout = Some(Duration::from_secs(30));
        stream.set_read_timeout(timeout).unwrap();
        let head = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
