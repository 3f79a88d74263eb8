//! Packets lost during the handshake: the counted retransmissions equal those of kernel and client.

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
    // The client sends SYN, ACK, ClientHello.
    stage.drop_from_client("ct original packets 3");
    let report = stage.complete();
    stage.expect_dropped(&stage.net.server, CONNECTIONS);
    assert_eq!(
        report.total(|row| row.retransmits),
        CONNECTIONS,
        "the client's own count: {report:?}"
    );
    stage.expect_again(["client", "handshake", "sent"], CONNECTIONS);
    stage.expect(RETRANSMITS, &[("direction", "sent")], CONNECTIONS);
    stage.expect_completed("client", CONNECTIONS);
    let peers = stage.agent.get("/api/v1/peers").expect("peers");
    let peers: Vec<serde_json::Value> = serde_json::from_str(&peers.body).expect("a list");
    let service = peers.iter().find(|peer| peer["role"] == "client");
    let service = service.expect("the service among the peers");
    assert_eq!(service["with_loss"], CONNECTIONS, "{service}");
}

#[test]
fn a_lost_finished() {
    let stage = Stage::new();
    // The flight begins with a ChangeCipherSpec (type 20) after 32 bytes of TCP header; the first
    // one of each connection is dropped.
    let (sets, seen) = (
        "set seen { type ipv4_addr . inet_service; flags dynamic; size 1024; }",
        "ip saddr . tcp sport",
    );
    let rule = format!(
        "tcp dport {} @th,256,8 0x14 {seen} != @seen add @seen {{ {seen} }} counter drop",
        stage.server.port
    );
    stage.net.rules(&stage.net.server, sets, &rule);
    stage.complete();
    stage.expect_dropped(&stage.net.server, CONNECTIONS);
    // A busy kernel may retransmit packets that were not lost.
    let kernel = stage.resent_by_client();
    assert!(
        kernel >= CONNECTIONS,
        "the kernel retransmitted only {kernel}"
    );
    // The client's library had completed the handshake when the packet was lost, and its request
    // arrived after the gap.
    for (role, direction) in [("client", "sent"), ("server", "received")] {
        let labels = [
            ("role", role),
            ("phase", "handshake"),
            ("direction", direction),
        ];
        stage.expect_within(RETRANSMITS, &labels, CONNECTIONS..=kernel);
        stage.expect_completed(role, CONNECTIONS);
    }
    stage.expect_within(RETRANSMITS, &[], 2 * CONNECTIONS..=2 * kernel);
}

#[test]
fn a_lost_flight_of_the_server() {
    let stage = Stage::new();
    // The server sends SYN-ACK, ACK of the ClientHello, then its flight.
    stage.drop_from_server("ct reply packets 3");
    let before = stage.resent_by_server();
    stage.complete();
    stage.expect_dropped(&stage.net.client, CONNECTIONS);
    let kernel = stage.resent_by_server() - before;
    assert!(
        kernel >= CONNECTIONS,
        "the kernel retransmitted only {kernel}"
    );
    stage.expect_again(["server", "handshake", "sent"], kernel);
    stage.expect(RETRANSMITS, &[("direction", "sent")], kernel);
    stage.expect_completed("server", CONNECTIONS);
}

#[test]
fn a_lost_syn() {
    let stage = Stage::new();
    stage.drop_from_client("tcp flags & (syn|ack) == syn numgen inc mod 2 == 0");
    let report = stage.complete();
    stage.expect_dropped(&stage.net.server, CONNECTIONS);
    assert_eq!(
        report.total(|row| row.retransmits),
        CONNECTIONS,
        "the client's own count: {report:?}"
    );
    stage.expect_again(["client", "syn", "sent"], CONNECTIONS);
    stage.expect_completed("client", CONNECTIONS);
}

#[test]
fn a_lost_syn_ack() {
    let stage = Stage::new();
    stage.drop_from_server("ct reply packets 1");
    let before = stage.resent_by_server();
    let report = stage.complete();
    stage.expect_dropped(&stage.net.client, CONNECTIONS);
    // Both ends have a timer of one second: the SYN-ACK is retransmitted by the server's, or
    // because the SYN is.
    let kernel = stage.resent_by_server() - before;
    assert!(
        kernel >= CONNECTIONS,
        "the kernel retransmitted only {kernel}"
    );
    stage.expect_again(["server", "synack", "sent"], kernel);
    let syns = report.total(|row| row.retransmits);
    stage.expect_again(["client", "syn", "sent"], syns);
    stage.expect_completed("server", CONNECTIONS);
}

#[test]
fn every_packet_of_the_servers_flight() {
    let stage = Stage::new();
    // Drops every data packet after SYN-ACK and ACK until it is retransmitted.
    stage.drop_from_server("ip length > 100 ct reply packets 3-4");
    let before = stage.resent_by_server();
    stage.complete();
    assert!(stage.net.dropped(&stage.net.client) >= CONNECTIONS);
    let kernel = stage.resent_by_server() - before;
    // The kernel counts segments; a packet on this link may contain two.
    let counted = CONNECTIONS..=kernel;
    let sent = ("direction", "sent");
    let labels = [("role", "server"), ("phase", "handshake"), sent];
    stage.expect_within(RETRANSMITS, &labels, counted.clone());
    stage.expect_within(RETRANSMITS, &[sent], counted);
    stage.expect_completed("server", CONNECTIONS);
}

/// The SYN-ACK is lost twice: the server retransmits it, and the client its SYN, which arrives
/// again.
#[test]
fn every_syn_ack_twice() {
    let stage = Stage::new();
    // From now on the port is known as a TLS service.
    stage.complete();
    let port = stage.server.port;
    let set = |name| format!("set {name} {{ type inet_service; flags dynamic; size 1024; }}");
    let sets = [set("once"), set("twice")].join("\n ");
    let synack = format!("tcp sport {port} tcp flags & (syn|ack) == (syn|ack) tcp dport");
    let rules = [
        format!("{synack} != @once add @once {{ tcp dport }} meta mark set 1"),
        format!("meta mark != 1 {synack} != @twice add @twice {{ tcp dport }} meta mark set 1"),
        "meta mark 1 counter drop".to_owned(),
    ];
    stage
        .net
        .rules(&stage.net.client, &sets, &rules.join("\n  "));
    let before = stage.resent_by_server();
    let report = stage.client(&[("--connections", "2".to_owned())]);
    assert_eq!(report.total(|row| row.full + row.resumed), 2, "{report:?}");
    stage.expect_dropped(&stage.net.client, 4);
    let kernel = stage.resent_by_server() - before;
    let syns = report.total(|row| row.retransmits);
    assert!(kernel >= 4 && syns >= 2, "{kernel} SYN-ACKs, {syns} SYNs");
    for (role, phase, direction, count) in [
        ("server", "synack", "sent", kernel),
        ("client", "syn", "sent", syns),
        ("server", "syn", "received", syns),
    ] {
        stage.expect_again([role, phase, direction], count);
    }
    stage.expect(
        "reprise_handshakes_total",
        &[("role", "server")],
        CONNECTIONS + 2,
    );
    for role in ["client", "server"] {
        stage.expect(WITH_LOSS, &[("role", role), ("outcome", "completed")], 2);
    }
    stage.expect("reprise_handshake_failures_total", &[], 0);
}

/// A known TLS port becomes unreachable: no handshake starts, but the loss is counted.
#[test]
fn no_syn_ack_arrives() {
    let stage = Stage::new();
    stage.complete();
    stage
        .net
        .set(&stage.net.server, "net.ipv4.tcp_synack_retries=1");
    stage.drop_from_server("tcp flags & (syn|ack) == (syn|ack)");
    let before = stage.resent_by_server();
    // A busy kernel may have retransmitted packets that were not lost.
    let before_in_client = stage.resent_by_client();
    let report = stage.client(&[("--timeout", "2.5".to_owned())]);
    assert_eq!(report.total(|row| row.failed), 1, "{report:?}");
    let syns = stage.resent_by_client() - before_in_client;
    assert!(syns >= 1, "the client gave up before it tried again");
    stage.expect_again(["client", "syn", "sent"], syns);
    stage.expect_again(["server", "syn", "received"], syns);
    let kernel = stage.resent_by_server() - before;
    stage.expect_again(["server", "synack", "sent"], kernel);
    stage.expect(
        "reprise_handshakes_total",
        &[("role", "server")],
        CONNECTIONS,
    );
    stage.expect("reprise_handshake_failures_total", &[], 0);
}

/// Many handshakes without loss: no failure has the cause `packet_loss`. `REPRISE_CONTROL` sets the
/// number per process.
#[test]
fn many_without_loss() {
    let each = std::env::var("REPRISE_CONTROL").unwrap_or_else(|_| "250".to_owned());
    let stage = Stage::new();
    let report = stage.client(&[
        ("--connections", each.clone()),
        ("--workers", "4".to_owned()),
        ("--mode", "processes".to_owned()),
    ]);
    let want = 4 * each.parse::<u32>().expect("REPRISE_CONTROL is a number");
    assert_eq!(
        report.total(|row| row.full + row.resumed),
        want,
        "{report:?}"
    );
    for role in ["client", "server"] {
        stage.expect("reprise_handshakes_total", &[("role", role)], want);
    }
    stage.expect("reprise_handshake_failures_total", &[], 0);
    // A busy kernel may retransmit packets that were not lost, so only the kernel's own count is
    // used.
    let kernel = stage.resent_by_server() + stage.resent_by_client();
    let sent = stage.rise(RETRANSMITS, &[("direction", "sent")]);
    let received = stage.rise(RETRANSMITS, &[("direction", "received")]);
    assert!(
        sent <= f64::from(kernel),
        "{sent} sent again, by the kernel {kernel}"
    );
    assert!(
        received <= f64::from(kernel),
        "{received} received again, by the kernel {kernel}"
    );
    println!(
        "{want} handshakes: {sent} sent again, {received} received again, {kernel} by the kernel"
    );
}

#[test]
fn nothing_but_the_connection_gets_through() {
    let stage = Stage::new();
    stage.drop_from_client("ip length > 60");
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
    stage.expect(
        "reprise_handshake_failures_total",
        &[("role", "client"), ("cause", "packet_loss")],
        1,
    );
}
