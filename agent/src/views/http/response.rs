//! Responses.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
        WWW_AUTHENTICATE,
    },
};
use serde::Serialize;

/// A response with its whole body.
pub(super) type Answer = Response<Full<Bytes>>;

/// The page loads its own files and queries this server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_string(value) {
        Ok(body) => reply(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    reply(status, "text/plain; charset=utf-8", body)
}

/// A file that is part of the program.
pub(super) fn file(content_type: &'static str, body: &'static str) -> Answer {
    let answer = reply(StatusCode::OK, content_type, body);
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

pub(super) fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
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
