//! Responses.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
        RETRY_AFTER, WWW_AUTHENTICATE,
    },
};
use serde::Serialize;

use super::{
    body::Body,
    document::{JSON, TEXT},
    rendering::Rendering,
};

/// A response.
pub(super) type Answer = Response<Body>;

/// The page loads its own files and queries this server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_string(value) {
        Ok(body) => reply(StatusCode::OK, JSON, Bytes::from(body).into()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    reply(status, TEXT, body.into().into())
}

/// A file that is part of the program.
pub(super) fn file(content_type: &'static str, body: &'static str) -> Answer {
    let body = Bytes::from_static(body.as_bytes());
    let answer = reply(StatusCode::OK, content_type, body.into());
    with_header(answer, CONTENT_SECURITY_POLICY, POLICY)
}

pub(super) fn method_not_allowed() -> Answer {
    let answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    with_header(answer, ALLOW, "GET, HEAD")
}

pub(super) fn unauthorized() -> Answer {
    let answer = text(StatusCode::UNAUTHORIZED, "unauthorized\n");
    with_header(answer, WWW_AUTHENTICATE, "Basic")
}

/// The request names a host that is not allowed.
pub(super) fn misdirected() -> Answer {
    let reason = "this agent does not answer to the host that the request names: use localhost or \
                  an address of this host, or start the agent with --allow-host NAME\n";
    text(StatusCode::MISDIRECTED_REQUEST, reason)
}

/// More failed passwords than allowed: the client has to wait.
pub(super) fn too_many_requests(seconds: u64) -> Answer {
    let reason = "too many wrong passwords from this address, try again later\n";
    let mut answer = text(StatusCode::TOO_MANY_REQUESTS, reason);
    answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    answer
}

/// The shutdown has begun.
pub(super) fn unavailable() -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
}

/// The whole rendering of a document.
pub(super) fn whole(rendering: Option<Arc<Rendering>>) -> Answer {
    let Some(rendering) = rendering else {
        return unavailable();
    };
    let (status, content_type) = (rendering.status, rendering.content_type);
    let len = rendering.len;
    reply(status, content_type, Body::shared(rendering, len, ""))
}

/// The first `rows` rows of a JSON array.
pub(super) fn first_rows(rendering: Option<Arc<Rendering>>, rows: usize) -> Answer {
    let Some(rendering) = rendering else {
        return unavailable();
    };
    let (status, content_type) = (rendering.status, rendering.content_type);
    let ends = &rendering.row_ends;
    if rows >= ends.len() {
        return whole(Some(rendering));
    }
    // Without a row, only the bracket remains.
    let last = rows.checked_sub(1).and_then(|last| ends.get(last));
    let len = last.copied().unwrap_or(1);
    reply(status, content_type, Body::shared(rendering, len, "]"))
}

fn reply(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let answer = with_header(answer, CONTENT_TYPE, content_type);
    with_header(answer, CACHE_CONTROL, "no-store")
}

fn with_header(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    answer
}
