//! TLS server on rustls: CERT KEY PORT VERSION SESSIONS. SESSIONS is `tickets`, `context` (tickets
//! with a key for each connection) or the size of a session cache. It answers one request per
//! connection.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerSessionMemoryCache;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

fn config(words: &[String]) -> Arc<ServerConfig> {
    let [cert, key, _, version, sessions] = words else {
        panic!("usage: rustls_server CERT KEY PORT VERSION SESSIONS");
    };
    let cert = CertificateDer::from_pem_file(cert).expect("failed to read the certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("failed to read the key");
    let version = if version == "1.2" { &TLS12 } else { &TLS13 };
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder
        .with_protocol_versions(&[version])
        .expect("the provider knows the version");
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .expect("the certificate and its key fit");
    match sessions.parse() {
        Ok(size) => config.session_storage = ServerSessionMemoryCache::new(size),
        Err(_) => config.ticketer = Ticketer::new().expect("failed to make a ticket key"),
    }
    Arc::new(config)
}

fn serve(tcp: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut tls = StreamOwned::new(connection, tcp);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut part = [0; 4096];
        let length = tls.read(&mut part)?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(&part[..length]);
    }
    tls.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")?;
    tls.conn.send_close_notify();
    tls.flush()
}

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let shared = config(&words);
    let own_context = words[4] == "context";
    let address = format!("127.0.0.1:{}", words[2]);
    let listener = TcpListener::bind(address).expect("failed to listen");
    for tcp in listener.incoming().flatten() {
        let config = if own_context {
            config(&words)
        } else {
            Arc::clone(&shared)
        };
        // Tests include clients that disconnect early.
        thread::spawn(move || serve(tcp, config).ok());
    }
}
