//! The HTTP server: metrics, health, JSON, a page for people. On the observing loop's own thread, so every answer is short and
//! every connection bounded in number and time: a slow or hostile client costs a slot, never observation.

mod api;
mod failures;

use std::{collections::VecDeque, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    metrics::{Format, Page},
    observed::Shared,
};

/// Connections served at one time; for one more the oldest is closed, so that idle ones cannot keep a scrape out.
const MAX_CONNECTIONS: usize = 64;
/// Time for a request's head to arrive.
const HEAD: Duration = Duration::from_secs(5);
/// Life of a connection, whatever it does.
const LIFE: Duration = Duration::from_secs(120);

type Answer = Response<Full<Bytes>>;

/// What the server answers from.
#[derive(Debug)]
struct Site {
    shared: Shared,
    page: Page,
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, shared: Shared, shutdown: CancellationToken) {
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
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&site, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = end.cancelled() => {}
                // Broken and slow clients are their own problem.
                _ = timeout(LIFE, connection) => {}
            }
            end.cancel();
        });
    }
    connections.close();
    connections.wait().await;
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
        "/api/v1/peers" => known(|site, _| json(&api::peers(&site.shared.lock()))),
        "/api/v1/libraries" => known(|site, _| json(&api::libraries(&site.shared.lock()))),
        "/api/v1/failures" => known(|site, _| json(&failures::failures(&site.shared.lock()))),
        "/api/v1/status" => known(|site, _| json(&api::status(&site.shared.lock()))),
        "/" => known(|site, _| {
            let page = api::index(&site.shared.lock());
            reply(StatusCode::OK, "text/html; charset=utf-8", page)
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
                format!("ready, {observed} libraries observed\n"),
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

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
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
