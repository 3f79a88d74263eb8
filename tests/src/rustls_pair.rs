//! A rustls server and client in the test process: TLS without OpenSSL.

use std::io;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
pub use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ServerConfig,
    ServerConnection, SignatureScheme, StreamOwned, SupportedProtocolVersion,
};

use crate::certificates::ec;
use crate::ports::listen;

/// Verifier that trusts every server.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A client that offers no session.
#[derive(Debug)]
pub struct FullClient(Arc<ClientConfig>);

impl FullClient {
    /// A client for this version of TLS.
    ///
    /// # Panics
    /// If there is no such version.
    #[must_use]
    pub fn new(version: &'static SupportedProtocolVersion) -> Self {
        let mut config = client_config(version);
        config.resumption = Resumption::disabled();
        Self(Arc::new(config))
    }

    /// Makes one handshake and an HTTP request; reads the answer to its end.
    ///
    /// # Errors
    /// The error of the connection.
    ///
    /// # Panics
    /// If there is no TLS.
    pub fn request(&self, port: u16) -> io::Result<()> {
        let tcp = TcpStream::connect(("127.0.0.1", port))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(Arc::clone(&self.0), name).expect("a connection");
        let mut tls = StreamOwned::new(tls, tcp);
        tls.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = [0; 1];
        tls.read_exact(&mut answer)
    }
}

fn client_config(version: &'static SupportedProtocolVersion) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("a client")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth()
}

/// Makes `connections` handshakes one after the other with one client; returns the numbers of full
/// and resumed handshakes according to the client.
///
/// # Panics
/// If one does not complete.
#[must_use]
pub fn handshakes(version: &'static SupportedProtocolVersion, connections: u32) -> (u32, u32) {
    let cert = CertificateDer::from_pem_file(&ec().cert).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&ec().key).expect("a key");
    let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![cert], key)
        })
        .expect("a server");
    let client = client_config(version);
    let (server, client) = (Arc::new(server), Arc::new(client));
    let listener = listen();
    let address = listener.local_addr().expect("a bound address");
    let (mut full, mut resumed) = (0, 0);
    for _ in 0..connections {
        let server = Arc::clone(&server);
        let listener = listener.try_clone().expect("a listener");
        let serving = std::thread::spawn(move || {
            let (tcp, _) = listener.accept().expect("a connection");
            let tls = ServerConnection::new(server).expect("a connection");
            let mut tls = StreamOwned::new(tls, tcp);
            let mut word = [0; 4];
            tls.read_exact(&mut word)
                .expect("failed to read the request");
            tls.write_all(b"pong").expect("failed to write a response");
            tls.conn.send_close_notify();
            tls.flush().expect("failed to close");
        });
        let tcp = TcpStream::connect(address).expect("failed to connect");
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(Arc::clone(&client), name).expect("a connection");
        let mut tls = StreamOwned::new(tls, tcp);
        tls.write_all(b"ping").expect("failed to write a request");
        let mut answer = Vec::new();
        tls.read_to_end(&mut answer)
            .expect("failed to read the response");
        serving.join().expect("the server");
        match tls.conn.handshake_kind() {
            Some(HandshakeKind::Resumed) => resumed += 1,
            Some(_) => full += 1,
            None => panic!("no handshake"),
        }
    }
    (full, resumed)
}
