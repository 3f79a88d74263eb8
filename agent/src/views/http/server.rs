//! Accepts connections and serves them.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{
    Request, body::Incoming, header::AUTHORIZATION, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    connections::Connections,
    documents::Documents,
    hosts::AllowedHosts,
    response::{self, Answer},
    routes,
    web_config::{Admission, Terms, WebConfig, subject_names},
    write_timeout::WriteTimeout,
};
use crate::observed::Shared;

/// Time limit for the head of a request, and for a TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for a connection as a whole.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// Time limit for open connections at the shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(300);
/// Delay after a failure to accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Send buffer of a connection, bytes. The kernel would raise it to several megabytes for each
/// client that does not read.
const SEND_BUFFER: u32 = 128 << 10;

/// Rules that decide which requests are answered.
#[derive(Debug)]
pub struct AccessRules {
    /// Hosts that a request may name.
    pub hosts: AllowedHosts,
    /// TLS, client certificates and passwords, if there is a file with them.
    pub config: Option<WebConfig>,
}

/// Binds the listening socket. Must run inside a runtime.
///
/// # Errors
///
/// Error of the system: the address is in use, not local, or not permitted.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit the size (tcp(7)).
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Serves until `shutdown`.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Shared,
    rules: AccessRules,
    shutdown: CancellationToken,
) {
    let (documents, _renderers) = Documents::start(shared);
    let hosts = Arc::new(rules.hosts);
    let mut config = rules.config;
    let mut connections = Connections::new(shutdown.clone());
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.ended() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly for lack of file descriptors, which other connections release.
                tracing::warn!(reason = %error, "failed to accept a connection");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let service = Service {
            documents: Arc::clone(&documents),
            hosts: Arc::clone(&hosts),
            terms: config.as_mut().map(WebConfig::terms),
            client: client.ip(),
        };
        connections.spawn(client.ip(), async move {
            // A connection that fails or is too slow affects its own client only.
            let _ = timeout(CONNECTION_TIMEOUT, service.serve_connection(stream)).await;
        });
    }
    if timeout(DRAIN_TIMEOUT, connections.drain()).await.is_err() {
        tracing::warn!("http connections still open at exit");
    }
}

/// Answers the requests of one connection.
#[derive(Debug, Clone)]
struct Service {
    documents: Arc<Documents>,
    hosts: Arc<AllowedHosts>,
    terms: Option<Arc<Terms>>,
    client: IpAddr,
}

impl Service {
    /// Serves the connection, with TLS if the terms require it.
    async fn serve_connection(self, stream: TcpStream) {
        let stream = WriteTimeout::new(stream);
        let Some(tls) = self.terms.as_ref().and_then(|terms| terms.tls.clone()) else {
            return self.serve_requests(stream).await;
        };
        let Ok(Ok(stream)) = timeout(HEAD_TIMEOUT, tls.accept(stream)).await else {
            return;
        };
        let allowed = self.terms.iter().flat_map(|terms| &terms.sans);
        let allowed: Vec<_> = allowed.collect();
        if !allowed.is_empty() {
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let names = certificates.first().map(subject_names).unwrap_or_default();
            if !names.iter().any(|name| allowed.contains(&name)) {
                return;
            }
        }
        self.serve_requests(stream).await;
    }

    async fn serve_requests(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(move |request| {
            let service = self.clone();
            async move { Ok::<_, Infallible>(service.answer(&request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        let _ = connection.await;
    }

    /// Answers a request to an allowed host whose user the terms admit.
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if !self.hosts.permit(request) {
            return response::misdirected();
        }
        let Some(terms) = &self.terms else {
            return routes::answer(&self.documents, request).await;
        };
        let authorization = request.headers().get(AUTHORIZATION);
        let authorization = authorization.and_then(|value| value.to_str().ok());
        let mut answer = match terms.users.admit(authorization, self.client).await {
            Admission::Granted => routes::answer(&self.documents, request).await,
            Admission::Denied => response::unauthorized(),
            Admission::Wait { seconds } => response::too_many_requests(seconds),
        };
        for (name, value) in &terms.headers {
            answer.headers_mut().insert(name, value.clone());
        }
        answer
    }
}
