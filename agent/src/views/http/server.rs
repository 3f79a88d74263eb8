//! Accepts connections and serves them.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{
    Request, body::Incoming, header::AUTHORIZATION, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    connections::Connections,
    response::{self, Answer},
    routes::{self, Site},
    web_config::{Terms, WebConfig, subject_names},
};
use crate::observed::Shared;

/// Time limit for the head of a request, and for a TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for a connection as a whole.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// Time limit for open connections at the shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Delay after a failure to accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Binds the listening socket.
///
/// # Errors
///
/// Error of the system: the address is in use, not local, or not permitted.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `shutdown`, with the access rules of `config` if there is one.
pub async fn serve(
    listener: TcpListener,
    shared: Shared,
    mut config: Option<WebConfig>,
    shutdown: CancellationToken,
) {
    let site = Arc::new(Site::new(shared));
    let mut connections = Connections::new(shutdown.clone());
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.ended() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly for lack of file descriptors, which other connections release.
                tracing::warn!(reason = %error, "failed to accept a connection");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let site = Arc::clone(&site);
        let terms = config.as_mut().map(WebConfig::terms);
        connections.spawn(async move {
            // A connection that fails or is too slow affects its own client only.
            let _ = timeout(CONNECTION_TIMEOUT, serve_connection(stream, site, terms)).await;
        });
    }
    if timeout(DRAIN_TIMEOUT, connections.drain()).await.is_err() {
        tracing::warn!("http connections still open at exit");
    }
}

/// Serves one connection, with TLS if the terms require it.
async fn serve_connection(stream: TcpStream, site: Arc<Site>, terms: Option<Arc<Terms>>) {
    let Some(tls) = terms.as_ref().and_then(|terms| terms.tls.clone()) else {
        return serve_requests(stream, site, terms).await;
    };
    let Ok(Ok(stream)) = timeout(HEAD_TIMEOUT, tls.accept(stream)).await else {
        return;
    };
    let allowed = terms.iter().flat_map(|terms| &terms.sans);
    let allowed: Vec<_> = allowed.collect();
    if !allowed.is_empty() {
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let names = certificates.first().map(subject_names).unwrap_or_default();
        if !names.iter().any(|name| allowed.contains(&name)) {
            return;
        }
    }
    serve_requests(stream, site, terms).await;
}

async fn serve_requests(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    site: Arc<Site>,
    terms: Option<Arc<Terms>>,
) {
    let service = service_fn(move |request| {
        let (site, terms) = (Arc::clone(&site), terms.clone());
        async move { Ok::<_, Infallible>(authorize(&site, terms.as_deref(), &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let _ = connection.await;
}

/// Answers a request whose user the terms admit.
async fn authorize(site: &Site, terms: Option<&Terms>, request: &Request<Incoming>) -> Answer {
    let Some(terms) = terms else {
        return routes::answer(site, request);
    };
    let authorization = request.headers().get(AUTHORIZATION);
    let authorization = authorization.and_then(|value| value.to_str().ok());
    let mut answer = if terms.users.admit(authorization).await {
        routes::answer(site, request)
    } else {
        response::unauthorized()
    };
    for (name, value) in &terms.headers {
        answer.headers_mut().insert(name, value.clone());
    }
    answer
}
