//! The HTTP pages: formats, metric families, statuses, and slow or hostile clients.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::observe;
use reprise_tests::{Agent, Client, Server, http};

const NO_ARGUMENTS: [&str; 0] = [];

#[test]
fn the_format_follows_the_accept_header() {
    let agent = Agent::start(NO_ARGUMENTS);
    let open = http::request(
        agent.address,
        "GET",
        "/metrics",
        "application/openmetrics-text; version=1.0.0",
    )
    .expect("an OpenMetrics page");
    let kind = open.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(open.body.ends_with("# EOF\n"), "no end mark");
    let text = http::request(agent.address, "GET", "/metrics", "text/plain").expect("a text page");
    let kind = text.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/plain"), "{kind}");
    for page in [&open, &text] {
        assert!(!page.body.contains("_total_total"), "a doubled suffix");
    }
    // OpenMetrics names the family without the suffix, the text format with it.
    assert!(
        open.body.contains("# TYPE reprise_handshakes counter"),
        "{}",
        open.body
    );
    assert!(
        text.body
            .contains("# TYPE reprise_handshakes_total counter"),
        "{}",
        text.body
    );
}

#[test]
fn every_metric_family_is_exported() {
    let server = Server::haproxy(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    observe(
        &agent,
        &server,
        &Client::new(server.port).connections(30),
        30,
    );
    let metrics = agent.metrics();
    let families = [
        "reprise_handshakes_total",
        "reprise_handshake_failures_total",
        "reprise_handshake_duration_seconds_bucket",
        "reprise_handshake_library_seconds_total",
        "reprise_peer_handshakes_total",
        "reprise_peer_resume_ratio",
        "reprise_handshake_retransmits_total",
        "reprise_handshakes_with_loss_total",
        "reprise_library_info",
        "reprise_probe_attached",
        "reprise_events_total",
        "reprise_events_lost_total",
        "reprise_tracked",
        "reprise_build_info",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ];
    let absent: Vec<_> = families
        .iter()
        .filter(|name| metrics.matching(name, &[]).next().is_none())
        .collect();
    assert!(absent.is_empty(), "absent: {absent:?}");
    for role in ["server", "client"] {
        let full = [("role", role), ("resumption", "full")];
        let count = metrics.sum("reprise_handshake_duration_seconds_count", &full);
        assert_eq!(
            count,
            metrics.sum("reprise_handshakes_total", &full),
            "{role}: one duration per handshake"
        );
        let mut infinite = full.to_vec();
        infinite.push(("le", "+Inf"));
        let all = metrics.get("reprise_handshake_duration_seconds_bucket", &infinite);
        assert_eq!(all, Some(count), "{role}: the last bucket holds everything");
        let took = metrics.sum("reprise_handshake_duration_seconds_sum", &full);
        let inside = metrics.sum("reprise_handshake_library_seconds_total", &full);
        assert!(
            inside > 0.0 && inside <= took,
            "{role}: {inside} s in the library of {took} s"
        );
        assert!(
            took / count < 5.0,
            "{role}: {took} s for {count} handshakes on loopback"
        );
    }
}

#[test]
fn http_statuses() {
    let agent = Agent::start(NO_ARGUMENTS);
    let status = |method, path| {
        http::request(agent.address, method, path, "*/*").map(|response| response.status)
    };
    assert_eq!(status("GET", "/healthz"), Ok(200));
    assert_eq!(status("GET", "/readyz"), Ok(200));
    assert_eq!(status("GET", "/no/such/path"), Ok(404));
    assert_eq!(status("POST", "/metrics"), Ok(405));
    assert_eq!(status("DELETE", "/readyz"), Ok(405));
}

#[test]
fn a_name_that_resolves_to_loopback_is_rejected() {
    let agent = Agent::start(["--allow-host", "agent.example"]);
    let port = agent.address.port();
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1", 200),
        ("[::1]", 200),
        ("agent.example", 200),
        ("attacker.example", 421),
        ("localhost.attacker.example", 421),
        ("192.0.2.1", 421),
    ] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            for path in ["/", "/metrics", "/readyz", "/api/v1/peers"] {
                let answer = http::request_host(agent.address, &host, path).expect("a response");
                assert_eq!(answer.status, status, "{host}{path}");
                let has_remedy = answer.body.contains("--allow-host");
                assert_eq!(has_remedy, status == 421, "{host}{path}: {answer:?}");
            }
        }
    }
}

#[test]
fn slow_and_hostile_clients_do_not_block_others() {
    let server = Server::nginx(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    let connect = || TcpStream::connect(agent.address).expect("failed to connect to the agent");
    let mut held: Vec<_> = (0..100).map(|_| connect()).collect();
    for (index, stream) in held.iter_mut().enumerate() {
        // A third sends nothing, a third half a request, and a third a request without reading the
        // response.
        let words: &[u8] = match index % 3 {
            0 => b"",
            1 => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept:",
            _ => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        };
        stream
            .write_all(words)
            .expect("failed to write to the agent");
    }
    // A server may reject these in any way, even with a reset.
    for words in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        &[0xff; 100_000],
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let _ = connect().write_all(words);
    }
    let start = Instant::now();
    let page = agent
        .get("/metrics")
        .expect("the page is served despite slow clients");
    assert_eq!(page.status, 200);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    observe(
        &agent,
        &server,
        &Client::new(server.port).connections(210),
        200,
    );
    drop(held);
    agent.assert_healthy();
}

#[test]
fn too_many_connections_do_no_harm() {
    let agent = Agent::start(NO_ARGUMENTS);
    let held: Vec<_> = (0..900)
        .map_while(|_| TcpStream::connect(agent.address).ok())
        .collect();
    assert!(held.len() >= 100, "only {} connections", held.len());
    // It may reject new connections meanwhile, but it must keep running and respond afterwards.
    drop(held);
    poll_until("the agent answers again", DEADLINE, || {
        match agent.get("/healthz") {
            Ok(response) if response.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    agent.assert_healthy();
}
