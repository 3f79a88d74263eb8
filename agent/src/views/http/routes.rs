//! Paths and their responses.

use hyper::{Method, Request, StatusCode, body::Incoming, header::ACCEPT};
use percent_encoding::percent_decode_str;

use super::{
    failures, overview, peer, peers,
    response::{self, Answer, file, json, text},
    status,
};
use crate::{
    observed::{Observed, Shared},
    views::metrics::{Format, Page},
};

/// Schema of the JSON endpoints.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// Path of one peer, up to its name.
const PEER: &str = "/api/v1/peers/";

/// Sources of the responses.
#[derive(Debug)]
pub(super) struct Site {
    shared: Shared,
    page: Page,
}

impl Site {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            page: Page::new(shared.clone(), true),
            shared,
        }
    }
}

/// Answers a request.
pub(super) fn answer(site: &Site, request: &Request<Incoming>) -> Answer {
    let respond: fn(&Site, &Request<Incoming>) -> Answer = match request.uri().path() {
        "/metrics" => metrics,
        "/healthz" => |_, _| text(StatusCode::OK, "alive\n"),
        "/readyz" => |site, _| ready(&site.shared.lock()),
        "/api/v1/overview" => |site, _| json(&overview::overview(&site.shared.lock())),
        "/api/v1/peers" => limited_peers,
        "/api/v1/libraries" => |site, _| json(&status::libraries(&site.shared.lock())),
        "/api/v1/failures" => |site, _| json(&failures::failures(&site.shared.lock())),
        "/api/v1/status" => |site, _| json(&status::status(&site.shared.lock())),
        "/api/v1/openapi.json" => |_, _| file("application/json", OPENAPI),
        "/" => |_, _| file("text/html; charset=utf-8", include_str!("page/index.html")),
        "/page.css" => |_, _| file("text/css; charset=utf-8", include_str!("page/page.css")),
        "/page.js" => |_, _| {
            file(
                "text/javascript; charset=utf-8",
                include_str!("page/page.js"),
            )
        },
        path if path.starts_with(PEER) => one_peer,
        _ => return text(StatusCode::NOT_FOUND, "no such page\n"),
    };
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        respond(site, request)
    } else {
        response::method_not_allowed()
    }
}

fn metrics(site: &Site, request: &Request<Incoming>) -> Answer {
    let accept = request.headers().get(ACCEPT);
    let format = Format::negotiate(accept.and_then(|accept| accept.to_str().ok()));
    match site.page.render(format) {
        Ok(page) => response::reply(StatusCode::OK, format.content_type(), page),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// All peers, or with `?limit=N` the N peers with the most handshakes that were not resumed.
fn limited_peers(site: &Site, request: &Request<Incoming>) -> Answer {
    let query = request.uri().query().unwrap_or_default();
    let limit = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("limit="))
        .map(str::parse);
    match limit {
        Some(Err(_)) => text(StatusCode::BAD_REQUEST, "limit: not a number\n"),
        limit => {
            let limit = limit.and_then(Result::ok).unwrap_or(usize::MAX);
            json(&peers::peers(&site.shared.lock(), limit))
        }
    }
}

/// The peer whose percent-encoded name ends the path.
fn one_peer(site: &Site, request: &Request<Incoming>) -> Answer {
    let name = request.uri().path().strip_prefix(PEER).unwrap_or_default();
    let peer = percent_decode_str(name)
        .decode_utf8()
        .ok()
        .and_then(|name| peer::peer(&site.shared.lock(), &name));
    match peer {
        Some(peer) => json(&peer),
        None => text(StatusCode::NOT_FOUND, "no such peer\n"),
    }
}

fn ready(observed: &Observed) -> Answer {
    if let Some(reason) = observed.status.not_ready() {
        return text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"));
    }
    let libraries = observed.status.libraries.iter();
    let libraries = libraries.filter(|library| library.observed).count();
    let unanswered = &observed.status.coverage.unanswered;
    let mut body = format!("ready, libraries observed: {libraries}\n");
    if unanswered.looks > 0 {
        let (looks, examples) = (unanswered.looks, unanswered.examples.join(", "));
        body.push_str(&format!(
            "not answering, and left alone: {looks} ({examples})\n"
        ));
    }
    text(StatusCode::OK, body)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
        thread,
    };

    use tokio_util::sync::CancellationToken;

    use crate::{
        observed::Shared,
        views::{explanation::tests::observed, http},
    };

    #[tokio::test]
    async fn the_name_of_a_peer_is_percent_encoded() {
        let listener = http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let served = http::serve(listener, Shared::new(observed()), None, shutdown.clone());
        let client = thread::spawn(move || {
            let answers = ["plant%20north%2F1", "plant", "%ff", ""].map(|name| {
                let mut stream = TcpStream::connect(address).unwrap();
                let head = format!("GET /api/v1/peers/{name} HTTP/1.0\r\n\r\n");
                stream.write_all(head.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            });
            shutdown.cancel();
            answers
        });
        served.await;
        let [found, others @ ..] = client.join().unwrap();
        assert!(
            found.starts_with("HTTP/1.0 200") && found.contains("beyond_accepted_rank"),
            "{found}"
        );
        for other in others {
            assert!(
                other.starts_with("HTTP/1.0 404") && other.ends_with("no such peer\n"),
                "{other}"
            );
        }
    }
}
