//! The HTTP server: metrics, health, JSON, a page for people. On the observing loop's own thread, so every answer is short and
//! every connection bounded in number and time: a slow or hostile client costs a slot, never observation.

mod api;
mod failures;
mod overview;
mod web_config;

use std::{collections::VecDeque, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{
        ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
        WWW_AUTHENTICATE,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::web_config::{Terms, names_of};
pub use self::web_config::{WebConfig, WebConfigError};
use crate::{
    observed::Shared,
    views::metrics::{Format, Page},
};

/// Connections served at one time; for one more the oldest is closed, so that idle ones cannot keep a scrape out.
const MAX_CONNECTIONS: usize = 64;
/// Time for a request's head to arrive.
const HEAD: Duration = Duration::from_secs(5);
/// Life of a connection, whatever it does.
const LIFE: Duration = Duration::from_secs(120);

/// What the JSON endpoints answer.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

type Answer = Response<Full<Bytes>>;

/// What the server answers from.
#[derive(Debug)]
struct Site {
    shared: Shared,
    page: Page,
}

/// Serves until `shutdown`, on the terms of `config` where there is one.
pub async fn serve(
    listener: TcpListener,
    shared: Shared,
    mut config: Option<WebConfig>,
    shutdown: CancellationToken,
) {
    let site = Arc::new(Site {
        page: Page::new(shared.clone(), true),
        shared,
    });
    let mut open: VecDeque<CancellationToken> = VecDeque::new();
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, usually: wait for some to come back.
                tracing::warn!(reason = %error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Cancelled by its own task at its end.
        open.retain(|connection| !connection.is_cancelled());
        if open.len() >= MAX_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.cancel();
        }
        let end = shutdown.child_token();
        open.push_back(end.clone());
        let site = Arc::clone(&site);
        let terms = config.as_mut().map(WebConfig::terms);
        connections.spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                // Broken and slow clients are their own problem.
                _ = timeout(LIFE, welcome(stream, site, terms)) => {}
            }
            end.cancel();
        });
    }
    connections.close();
    connections.wait().await;
}

/// One connection: encrypted first where the terms say so.
async fn welcome(stream: TcpStream, site: Arc<Site>, terms: Option<Arc<Terms>>) {
    let Some(tls) = terms.as_ref().and_then(|terms| terms.tls.clone()) else {
        return converse(stream, site, terms).await;
    };
    let Ok(Ok(stream)) = timeout(HEAD, tls.accept(stream)).await else {
        return;
    };
    let allowed = terms
        .iter()
        .flat_map(|terms| &terms.sans)
        .collect::<Vec<_>>();
    if !allowed.is_empty() {
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let names = certificates.first().map(names_of).unwrap_or_default();
        if !names.iter().any(|name| allowed.contains(&name)) {
            return;
        }
    }
    converse(stream, site, terms).await;
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    site: Arc<Site>,
    terms: Option<Arc<Terms>>,
) {
    let service = service_fn(move |request| {
        let (site, terms) = (Arc::clone(&site), terms.clone());
        async move { Ok::<_, Infallible>(on_terms(&site, terms.as_deref(), &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let _ = connection.await;
}

async fn on_terms(site: &Site, terms: Option<&Terms>, request: &Request<Incoming>) -> Answer {
    let Some(terms) = terms else {
        return answer(site, request);
    };
    let authorization = request.headers().get(AUTHORIZATION);
    let authorization = authorization.and_then(|value| value.to_str().ok());
    let mut answer = if terms.users.admit(authorization).await {
        answer(site, request)
    } else {
        let mut answer = text(StatusCode::UNAUTHORIZED, "unauthorized\n".to_owned());
        answer.headers_mut().insert(
            WWW_AUTHENTICATE,
            hyper::header::HeaderValue::from_static("Basic"),
        );
        answer
    };
    for (name, value) in &terms.headers {
        answer.headers_mut().insert(name, value.clone());
    }
    answer
}

/// Binds the listening socket.
///
/// # Errors
///
/// The system's: address in use, not local, or not permitted.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

fn answer(site: &Site, request: &Request<Incoming>) -> Answer {
    let known = |body: fn(&Site, &Request<Incoming>) -> Answer| {
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            body(site, request)
        } else {
            let mut answer = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed\n".to_owned(),
            );
            answer
                .headers_mut()
                .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            answer
        }
    };
    match request.uri().path() {
        "/metrics" => known(metrics),
        "/healthz" => known(|_, _| text(StatusCode::OK, "alive\n".to_owned())),
        "/readyz" => known(|site, _| ready(site)),
        "/api/v1/overview" => known(|site, _| json(&overview::overview(&site.shared.lock()))),
        "/api/v1/peers" => known(peers),
        "/api/v1/libraries" => known(|site, _| json(&api::libraries(&site.shared.lock()))),
        "/api/v1/failures" => known(|site, _| json(&failures::failures(&site.shared.lock()))),
        "/api/v1/status" => known(|site, _| json(&api::status(&site.shared.lock()))),
        "/api/v1/openapi.json" => known(|_, _| fixed("application/json", OPENAPI)),
        "/" => known(|_, _| fixed("text/html; charset=utf-8", include_str!("page/index.html"))),
        "/page.css" => {
            known(|_, _| fixed("text/css; charset=utf-8", include_str!("page/page.css")))
        }
        "/page.js" => known(|_, _| {
            fixed(
                "text/javascript; charset=utf-8",
                include_str!("page/page.js"),
            )
        }),
        _ => text(StatusCode::NOT_FOUND, "no such page\n".to_owned()),
    }
}

fn metrics(site: &Site, request: &Request<Incoming>) -> Answer {
    let accept = request
        .headers()
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let format = Format::negotiate(accept);
    match site.page.render(format) {
        Ok(page) => reply(StatusCode::OK, format.content_type(), page),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// All peers, or with `?limit=N` the N with the most handshakes that were not resumed.
fn peers(site: &Site, request: &Request<Incoming>) -> Answer {
    let query = request.uri().query().unwrap_or_default();
    let limit = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("limit="))
        .map(str::parse);
    match limit {
        Some(Err(_)) => text(StatusCode::BAD_REQUEST, "limit: not a number\n".to_owned()),
        limit => {
            let limit = limit.and_then(Result::ok).unwrap_or(usize::MAX);
            json(&api::peers(&site.shared.lock(), limit))
        }
    }
}

/// A file that is part of the program. It may ask this server for more, and nobody else.
fn fixed(content_type: &'static str, body: &'static str) -> Answer {
    let mut answer = reply(StatusCode::OK, content_type, body);
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                  base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    answer.headers_mut().insert(
        CONTENT_SECURITY_POLICY,
        hyper::header::HeaderValue::from_static(policy),
    );
    answer
}

fn ready(site: &Site) -> Answer {
    let observed = site.shared.lock();
    match observed.status.not_ready() {
        None => {
            let observed = observed
                .status
                .libraries
                .iter()
                .filter(|library| library.observed)
                .count();
            text(
                StatusCode::OK,
                format!("ready, libraries observed: {observed}\n"),
            )
        }
        Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_string(value) {
        Ok(body) => reply(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Answer {
    reply(status, "text/plain; charset=utf-8", body)
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(content_type),
    );
    headers.insert(
        CACHE_CONTROL,
        hyper::header::HeaderValue::from_static("no-store"),
    );
    answer
}
