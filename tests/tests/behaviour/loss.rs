//! Packets lost during the handshake: the counted retransmissions equal those of kernel and client.

use reprise_tests::namespaces::SERVER_IP;
use reprise_tests::testbed::{CONNECTIONS, RETRANSMITS, Testbed, WITH_LOSS};

#[test]
fn nothing_is_counted_without_loss() {
    let testbed = Testbed::new();
    testbed.complete();
    // A busy kernel may retransmit packets that were not lost; each is counted at both ends.
    let kernel = testbed.resent_by_server() + testbed.resent_by_client();
    for role in ["server", "client"] {
        testbed.expect("reprise_handshakes_total", &[("role", role)], CONNECTIONS);
    }
    testbed.expect_within(WITH_LOSS, &[], 0..=2 * kernel);
    testbed.expect_within(RETRANSMITS, &[], 0..=2 * kernel);
    testbed.expect("reprise_handshake_failures_total", &[], 0);
}

#[test]
fn a_lost_client_hello() {
    let testbed = Testbed::new();
    // The client sends SYN, ACK, ClientHello.
    testbed.drop_from_client("ct original packets 3");
    let report = testbed.complete();
    testbed.expect_dropped(&testbed.net.server, CONNECTIONS);
    assert!(
        report.total(|row| row.retransmits) >= CONNECTIONS,
        "the client's own count: {report:?}"
    );
    // A busy kernel may retransmit packets that were not lost.
    let (client, server) = (testbed.resent_by_client(), testbed.resent_by_server());
    let sent = ("direction", "sent");
    let labels = [("role", "client"), ("phase", "handshake"), sent];
    testbed.expect_within(RETRANSMITS, &labels, CONNECTIONS..=client);
    testbed.expect_within(RETRANSMITS, &[sent], CONNECTIONS..=client + server);
    testbed.expect_completed("client", CONNECTIONS);
    let peers = testbed.agent.get("/api/v1/peers").expect("peers");
    let peers: Vec<serde_json::Value> = serde_json::from_str(&peers.body).expect("a list");
    let service = peers.iter().find(|peer| peer["role"] == "client");
    let service = service.expect("the service among the peers");
    assert_eq!(service["with_loss"], CONNECTIONS, "{service}");
}

#[test]
fn a_lost_finished() {
    let testbed = Testbed::new();
    // The flight begins with a ChangeCipherSpec (type 20) after 32 bytes of TCP header; the first
    // one of each connection is dropped.
    let (sets, seen) = (
        "set seen { type ipv4_addr . inet_service; flags dynamic; size 1024; }",
        "ip saddr . tcp sport",
    );
    let rule = format!(
        "tcp dport {} @th,256,8 0x14 {seen} != @seen add @seen {{ {seen} }} counter drop",
        testbed.server.port
    );
    testbed.net.rules(&testbed.net.server, sets, &rule);
    testbed.complete();
    testbed.expect_dropped(&testbed.net.server, CONNECTIONS);
    // A busy kernel may retransmit packets that were not lost.
    let kernel = testbed.resent_by_client();
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
        testbed.expect_within(RETRANSMITS, &labels, CONNECTIONS..=kernel);
        testbed.expect_completed(role, CONNECTIONS);
    }
    testbed.expect_within(RETRANSMITS, &[], 2 * CONNECTIONS..=2 * kernel);
}

#[test]
fn the_flight_of_the_server_is_lost() {
    let testbed = Testbed::new();
    // The server sends SYN-ACK, ACK of the ClientHello, then its flight.
    testbed.drop_from_server("ct reply packets 3");
    testbed.complete();
    testbed.expect_dropped(&testbed.net.client, CONNECTIONS);
    let (server, client) = (testbed.resent_by_server(), testbed.resent_by_client());
    assert!(
        server >= CONNECTIONS,
        "the kernel retransmitted only {server}"
    );
    // A busy kernel may retransmit packets that were not lost, also after the handshake.
    let sent = ("direction", "sent");
    let labels = [("role", "server"), ("phase", "handshake"), sent];
    testbed.expect_within(RETRANSMITS, &labels, CONNECTIONS..=server);
    testbed.expect_within(RETRANSMITS, &[sent], CONNECTIONS..=server + client);
    testbed.expect_completed("server", CONNECTIONS);
}

#[test]
fn a_lost_syn() {
    let testbed = Testbed::new();
    testbed.drop_from_client("tcp flags & (syn|ack) == syn numgen inc mod 2 == 0");
    let report = testbed.complete();
    testbed.expect_dropped(&testbed.net.server, CONNECTIONS);
    assert!(
        report.total(|row| row.retransmits) >= CONNECTIONS,
        "the client's own count: {report:?}"
    );
    assert_eq!(testbed.syns_resent(), CONNECTIONS, "the kernel's own count");
    testbed.expect_again(["client", "syn", "sent"], CONNECTIONS);
    testbed.expect_completed("client", CONNECTIONS);
}

#[test]
fn a_lost_syn_ack() {
    let testbed = Testbed::new();
    testbed.drop_from_server("ct reply packets 1");
    testbed.complete();
    testbed.expect_dropped(&testbed.net.client, CONNECTIONS);
    // Both ends have a timer of one second: the SYN-ACK is retransmitted by the server's, or
    // because the SYN is.
    let synacks = testbed.synacks_resent();
    assert!(
        synacks >= CONNECTIONS,
        "the kernel retransmitted only {synacks}"
    );
    testbed.expect_again(["server", "synack", "sent"], synacks);
    testbed.expect_again(["client", "syn", "sent"], testbed.syns_resent());
    testbed.expect_completed("server", CONNECTIONS);
}

#[test]
fn every_packet_of_the_servers_flight() {
    let testbed = Testbed::new();
    // Drops every data packet after SYN-ACK and ACK until it is retransmitted.
    testbed.drop_from_server("ip length > 100 ct reply packets 3-4");
    testbed.complete();
    assert!(testbed.net.dropped(&testbed.net.client) >= CONNECTIONS);
    let kernel = testbed.resent_by_server();
    // The kernel counts segments; a packet on this link may contain two.
    let counted = CONNECTIONS..=kernel;
    let sent = ("direction", "sent");
    let labels = [("role", "server"), ("phase", "handshake"), sent];
    testbed.expect_within(RETRANSMITS, &labels, counted.clone());
    testbed.expect_within(RETRANSMITS, &[sent], counted);
    testbed.expect_completed("server", CONNECTIONS);
}

/// The SYN-ACK is lost twice: the server retransmits it, and the client its SYN, which arrives
/// again.
#[test]
fn every_syn_ack_is_lost_twice() {
    let testbed = Testbed::new();
    // From now on the port is known as a TLS service.
    testbed.complete();
    let port = testbed.server.port;
    let set = |name| format!("set {name} {{ type inet_service; flags dynamic; size 1024; }}");
    let sets = [set("once"), set("twice")].join("\n ");
    let synack = format!("tcp sport {port} tcp flags & (syn|ack) == (syn|ack) tcp dport");
    let rules = [
        format!("{synack} != @once add @once {{ tcp dport }} meta mark set 1"),
        format!("meta mark != 1 {synack} != @twice add @twice {{ tcp dport }} meta mark set 1"),
        "meta mark 1 counter drop".to_owned(),
    ];
    testbed
        .net
        .rules(&testbed.net.client, &sets, &rules.join("\n  "));
    let report = testbed.client(&[("--connections", "2".to_owned())]);
    assert_eq!(report.total(|row| row.full + row.resumed), 2, "{report:?}");
    testbed.expect_dropped(&testbed.net.client, 4);
    let (synacks, syns) = (testbed.synacks_resent(), testbed.syns_resent());
    assert!(synacks >= 4 && syns >= 2, "{synacks} SYN-ACKs, {syns} SYNs");
    for (role, phase, direction, count) in [
        ("server", "synack", "sent", synacks),
        ("client", "syn", "sent", syns),
        ("server", "syn", "received", syns),
    ] {
        testbed.expect_again([role, phase, direction], count);
    }
    testbed.expect(
        "reprise_handshakes_total",
        &[("role", "server")],
        CONNECTIONS + 2,
    );
    for role in ["client", "server"] {
        testbed.expect(WITH_LOSS, &[("role", role), ("outcome", "completed")], 2);
    }
    testbed.expect("reprise_handshake_failures_total", &[], 0);
}

/// A known TLS port becomes unreachable: no handshake starts, but the loss is counted.
#[test]
fn no_syn_ack_arrives() {
    let testbed = Testbed::new();
    testbed.complete();
    testbed
        .net
        .set(&testbed.net.server, "net.ipv4.tcp_synack_retries=1");
    testbed.drop_from_server("tcp flags & (syn|ack) == (syn|ack)");
    let report = testbed.client(&[("--timeout", "2.5".to_owned())]);
    assert_eq!(report.total(|row| row.failed), 1, "{report:?}");
    let syns = testbed.syns_resent();
    assert!(syns >= 1, "the client gave up before it tried again");
    testbed.expect_again(["client", "syn", "sent"], syns);
    testbed.expect_again(["server", "syn", "received"], syns);
    testbed.expect_again(["server", "synack", "sent"], testbed.synacks_resent());
    testbed.expect(
        "reprise_handshakes_total",
        &[("role", "server")],
        CONNECTIONS,
    );
    testbed.expect("reprise_handshake_failures_total", &[], 0);
}

/// Many handshakes without loss: no failure has the cause `packet_loss`. `REPRISE_CONTROL` sets the
/// number per process.
#[test]
fn many_without_loss() {
    let each = std::env::var("REPRISE_CONTROL").unwrap_or_else(|_| "250".to_owned());
    let testbed = Testbed::new();
    let report = testbed.client(&[
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
        testbed.expect("reprise_handshakes_total", &[("role", role)], want);
    }
    testbed.expect("reprise_handshake_failures_total", &[], 0);
    // A busy kernel may retransmit packets that were not lost, so only the kernel's own count is
    // used.
    let kernel = testbed.resent_by_server() + testbed.resent_by_client();
    let sent = testbed.rise(RETRANSMITS, &[("direction", "sent")]);
    let received = testbed.rise(RETRANSMITS, &[("direction", "received")]);
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
fn all_data_of_the_client_is_lost() {
    let testbed = Testbed::new();
    testbed.drop_from_client("ip length > 60");
    let report = testbed.client(&[("--timeout", "2".to_owned())]);
    assert_eq!(report.total(|row| row.failed), 1, "{report:?}");
    assert!(
        testbed.net.dropped(&testbed.net.server) >= 2,
        "no retransmission within two seconds"
    );
    let peer = format!("{SERVER_IP}:{}", testbed.server.port);
    testbed.expect(
        "reprise_peer_handshake_failures_total",
        &[("peer", &peer), ("role", "client")],
        1,
    );
    testbed.expect(WITH_LOSS, &[("role", "client"), ("outcome", "failed")], 1);
    testbed.expect("reprise_handshakes_total", &[], 0);
    testbed.expect(
        "reprise_handshake_failures_total",
        &[("role", "client"), ("cause", "packet_loss")],
        1,
    );
}
