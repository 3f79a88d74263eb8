//! Paths and their responses.

use hyper::{Method, Request, StatusCode, body::Incoming, header::ACCEPT};
use percent_encoding::percent_decode_str;

use super::{
    document::{Document, PeerLimit},
    documents::Documents,
    peer,
    response::{self, Answer, file, json, text},
};
use crate::views::{metrics::Format, services};

/// Schema of the JSON endpoints.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// Path of one peer, up to its name.
const PEER: &str = "/api/v1/peers/";
/// Path of the advice for one service, around its number.
const ADVICE: [&str; 2] = ["/api/v1/services/", "/advice"];

/// What a path names.
enum Resource<'r> {
    Alive,
    /// A document that is rendered from the observed state.
    Document(Document),
    /// A file that is part of the program, with its content type.
    File(&'static str, &'static str),
    Peers,
    /// Advice for one service, by its number.
    Advice(&'r str),
    /// One peer, by its percent-encoded name.
    Peer(&'r str),
}

impl<'r> Resource<'r> {
    fn find(request: &'r Request<Incoming>) -> Option<Self> {
        Some(match request.uri().path() {
            "/metrics" => Self::Document(Document::Metrics(format(request))),
            "/healthz" => Self::Alive,
            "/readyz" => Self::Document(Document::Ready),
            "/api/v1/overview" => Self::Document(Document::Overview),
            "/api/v1/peers" => Self::Peers,
            "/api/v1/libraries" => Self::Document(Document::Libraries),
            "/api/v1/failures" => Self::Document(Document::Failures),
            "/api/v1/services" => Self::Document(Document::Services),
            "/api/v1/changes" => Self::Document(Document::Changes),
            "/api/v1/networks" => Self::Document(Document::Networks),
            "/api/v1/status" => Self::Document(Document::Status),
            "/api/v1/openapi.json" => Self::File("application/json", OPENAPI),
            "/" => Self::File("text/html; charset=utf-8", include_str!("page/index.html")),
            "/page.css" => Self::File("text/css; charset=utf-8", include_str!("page/page.css")),
            "/page.js" => Self::File(
                "text/javascript; charset=utf-8",
                include_str!("page/page.js"),
            ),
            "/services.js" => Self::File(
                "text/javascript; charset=utf-8",
                include_str!("page/services.js"),
            ),
            "/caches.js" => Self::File(
                "text/javascript; charset=utf-8",
                include_str!("page/caches.js"),
            ),
            path => match path.strip_prefix(PEER) {
                Some(name) => Self::Peer(name),
                None => Self::Advice(path.strip_prefix(ADVICE[0])?.strip_suffix(ADVICE[1])?),
            },
        })
    }
}

/// Answers a request.
pub(super) async fn answer(documents: &Documents, request: &Request<Incoming>) -> Answer {
    let Some(resource) = Resource::find(request) else {
        return text(StatusCode::NOT_FOUND, "no such page\n");
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return response::method_not_allowed();
    }
    match resource {
        Resource::Alive => text(StatusCode::OK, "alive\n"),
        Resource::Document(document) => response::whole(documents.get(document).await),
        Resource::File(content_type, body) => file(content_type, body),
        Resource::Peers => limited_peers(documents, request.uri().query()).await,
        Resource::Advice(id) => advice(documents, id).await,
        Resource::Peer(name) => one_peer(documents, name).await,
    }
}

fn format(request: &Request<Incoming>) -> Format {
    let accept = request.headers().get(ACCEPT);
    Format::negotiate(accept.and_then(|accept| accept.to_str().ok()))
}

/// All peers, or with `?limit=N` the N peers with the most handshakes that were not resumed.
async fn limited_peers(documents: &Documents, query: Option<&str>) -> Answer {
    let mut pairs = query.unwrap_or_default().split('&');
    let limit = pairs.find_map(|pair| pair.strip_prefix("limit="));
    let Ok(limit) = limit.map_or(Ok(usize::MAX), str::parse) else {
        return text(StatusCode::BAD_REQUEST, "limit: not a number\n");
    };
    let document = Document::Peers(PeerLimit::at_least(limit));
    response::first_rows(documents.get(document).await, limit)
}

async fn one_peer(documents: &Documents, name: &str) -> Answer {
    let name = percent_decode_str(name).decode_utf8().ok();
    let Some(name) = name.map(|name| name.into_owned()) else {
        return text(StatusCode::NOT_FOUND, "no such peer\n");
    };
    let answer = documents.query(move |shared| {
        let peer = peer::peer(&shared.lock(), &name);
        peer.map(|peer| json(&peer))
    });
    match answer.await {
        Some(Some(answer)) => answer,
        Some(None) => text(StatusCode::NOT_FOUND, "no such peer\n"),
        None => response::unavailable(),
    }
}

async fn advice(documents: &Documents, id: &str) -> Answer {
    let Ok(id) = id.parse() else {
        return text(StatusCode::NOT_FOUND, "no such service\n");
    };
    let answer = documents.query(move |shared| {
        let advice = services::advice(&shared.lock(), id);
        advice.map(|advice| json(&advice))
    });
    match answer.await {
        Some(Some(answer)) => answer,
        Some(None) => text(StatusCode::NOT_FOUND, "no such service\n"),
        None => response::unavailable(),
    }
}

#[cfg(test)]
mod tests {
    use crate::views::{explanation::tests::observed, http::test_server::TestServer};

    #[test]
    fn the_name_of_a_peer_is_percent_encoded() {
        let server = TestServer::start(observed());
        let [found, others @ ..] = ["plant%20north%2F1", "plant", "%ff", ""]
            .map(|name| server.get(&format!("/api/v1/peers/{name}")));
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

    #[test]
    fn a_limit_cuts_the_list_of_peers() {
        let server = TestServer::start(observed());
        let rows = |query: &str| {
            let answer = server.get(&format!("/api/v1/peers{query}"));
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let length = format!("content-length: {}", body.len());
            assert!(head.contains(&length), "{head}");
            let rows: Vec<serde_json::Value> = serde_json::from_str(body).unwrap();
            rows.iter()
                .map(|row| row["role"].to_string())
                .collect::<Vec<_>>()
        };
        let both = ["\"server\"", "\"client\""].map(str::to_owned).to_vec();
        assert_eq!(rows("?limit=0"), Vec::<String>::new());
        assert_eq!(rows("?limit=1"), both[..1]);
        assert_eq!(rows("?a=b&limit=2"), both);
        assert_eq!(rows("?limit=5000"), both);
        assert_eq!(rows("").len(), 2);
        let wrong = server.get("/api/v1/peers?limit=x");
        assert!(wrong.starts_with("HTTP/1.0 400"), "{wrong}");
    }
}
