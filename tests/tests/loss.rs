//! Packets lost in the handshake: retransmissions joined to it, equal to what the kernel and the client count.

use reprise_tests::namespaces::SERVER_IP;
use reprise_tests::stage::{CONNECTIONS, RETRANSMITS, Stage, WITH_LOSS};

#[test]
fn no_loss_is_no_loss() {
    let stage = Stage::new();
    stage.complete();
    stage.expect_completed("client", 0);
    stage.expect(WITH_LOSS, &[], 0);
    stage.expect(RETRANSMITS, &[], 0);
}

#[test]
fn a_lost_client_hello() {
    let stage = Stage::new();
    // From the client come SYN, ACK, ClientHello.
    let rule = format!(
        "tcp dport {} ct original packets 3 counter drop",
        stage.server.port
    );
    stage.net.rule(&stage.net.server, &rule);
    let report = stage.complete();
    stage.expect_dropped(&stage.net.server, CONNECTIONS);
    assert_eq!(
        report.total(|row| row.retransmits),
        CONNECTIONS,
        "the client's own count: {report:?}"
    );
    stage.expect(
        RETRANSMITS,
        &[
            ("role", "client"),
            ("phase", "handshake"),
            ("direction", "sent"),
        ],
        CONNECTIONS,
    );
    stage.expect(RETRANSMITS, &[("direction", "sent")], CONNECTIONS);
    stage.expect_completed("client", CONNECTIONS);
}

#[test]
fn a_lost_flight_of_the_server() {
    let stage = Stage::new();
    // From the server come SYN-ACK, ACK of the ClientHello, then its flight.
    let rule = format!(
        "tcp sport {} ct reply packets 3 counter drop",
        stage.server.port
    );
    stage.net.rule(&stage.net.client, &rule);
    let before = stage.net.retransmitted(stage.server.process.pid());
    stage.complete();
    stage.expect_dropped(&stage.net.client, CONNECTIONS);
    let kernel = stage.net.retransmitted(stage.server.process.pid()) - before;
    assert!(
        kernel >= CONNECTIONS,
        "the kernel retransmitted only {kernel}"
    );
    stage.expect(
        RETRANSMITS,
        &[
            ("role", "server"),
            ("phase", "handshake"),
            ("direction", "sent"),
        ],
        kernel,
    );
    stage.expect(RETRANSMITS, &[("direction", "sent")], kernel);
    stage.expect_completed("server", CONNECTIONS);
}

#[test]
fn a_lost_syn() {
    let stage = Stage::new();
    let rule = format!(
        "tcp dport {} tcp flags & (syn|ack) == syn numgen inc mod 2 == 0 counter drop",
        stage.server.port
    );
    stage.net.rule(&stage.net.server, &rule);
    let report = stage.complete();
    stage.expect_dropped(&stage.net.server, CONNECTIONS);
    assert_eq!(
        report.total(|row| row.retransmits),
        CONNECTIONS,
        "the client's own count: {report:?}"
    );
    stage.expect(
        RETRANSMITS,
        &[("role", "client"), ("phase", "syn"), ("direction", "sent")],
        CONNECTIONS,
    );
    stage.expect_completed("client", CONNECTIONS);
}

#[test]
fn a_lost_syn_ack() {
    let stage = Stage::new();
    let rule = format!(
        "tcp sport {} ct reply packets 1 counter drop",
        stage.server.port
    );
    stage.net.rule(&stage.net.client, &rule);
    let before = stage.net.retransmitted(stage.server.process.pid());
    let report = stage.complete();
    stage.expect_dropped(&stage.net.client, CONNECTIONS);
    // Both ends have a timer of one second: the SYN-ACK is repeated by the server's, or because the SYN is.
    let kernel = stage.net.retransmitted(stage.server.process.pid()) - before;
    assert!(
        kernel >= CONNECTIONS,
        "the kernel retransmitted only {kernel}"
    );
    stage.expect(
        RETRANSMITS,
        &[
            ("role", "server"),
            ("phase", "synack"),
            ("direction", "sent"),
        ],
        kernel,
    );
    let syns = report.total(|row| row.retransmits);
    stage.expect(
        RETRANSMITS,
        &[("role", "client"), ("phase", "syn"), ("direction", "sent")],
        syns,
    );
    stage.expect_completed("server", CONNECTIONS);
}

#[test]
fn nothing_but_the_connection_gets_through() {
    let stage = Stage::new();
    stage.net.rule(
        &stage.net.server,
        &format!(
            "tcp dport {} ip length > 60 counter drop",
            stage.server.port
        ),
    );
    let report = stage.client(&[("--timeout", "2".to_owned())]);
    assert_eq!(report.total(|row| row.failed), 1, "{report:?}");
    assert!(
        stage.net.dropped(&stage.net.server) >= 2,
        "no retransmission within two seconds"
    );
    let peer = format!("{SERVER_IP}:{}", stage.server.port);
    stage.expect(
        "reprise_peer_handshake_failures_total",
        &[("peer", &peer), ("role", "client")],
        1,
    );
    stage.expect(WITH_LOSS, &[("role", "client"), ("outcome", "failed")], 1);
    stage.expect("reprise_handshakes_total", &[], 0);
    let causes = ["packet_loss", "timeout", "abandoned"];
    let by = |cause| {
        stage.rise(
            "reprise_handshake_failures_total",
            &[("role", "client"), ("cause", cause)],
        )
    };
    assert_eq!(
        causes.map(by).iter().sum::<f64>(),
        1.0,
        "{}",
        stage.agent.metrics().show("failures_total")
    );
}
