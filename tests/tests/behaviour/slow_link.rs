//! A link whose round trip is longer than TCP's first timeout: retransmissions on it are not
//! evidence of loss.

use std::process::Command;

use nix::sys::signal::Signal;
use reprise_tests::failure::{FAMILY, failures};
use reprise_tests::namespaces::Namespaces;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::{PYTHON, Process, fixture};
use reprise_tests::servers::Sessions;
use reprise_tests::{Agent, Client, Server};

const CLIENT_IP: &str = "10.77.1.1";
const SERVER_IP: &str = "10.77.1.2";
/// Delay in each direction, milliseconds; TCP's first timeout is 1,000.
const DELAY_MS: &str = "750";
const WITH_LOSS: &str = "reprise_handshakes_with_loss_total";

fn slow_link(net: &Namespaces) -> Process {
    let mut command = Command::new(PYTHON);
    command.arg(fixture("slow_link.py"));
    command.args([&net.client, CLIENT_IP, &net.server, SERVER_IP, DELAY_MS]);
    let link = Process::spawn(&mut command);
    poll_until("the link is up", DEADLINE, || {
        let ready = link.stdout().contains("ready").then_some(());
        ready.ok_or(link.stderr())
    });
    link
}

#[test]
fn needless_retransmissions_are_no_packet_loss() {
    let net = Namespaces::new();
    let _link = slow_link(&net);
    let words = Namespaces::exec(&net.server);
    let mut python = Command::new(words[0]);
    python.args(&words[1..]).arg(PYTHON);
    let server = Server::python_with(Sessions::Ids, SERVER_IP, &mut python, &[]);
    let agent = Agent::start([""; 0]);
    agent.wait_libraries(1);
    let client = |timeout: &str| {
        Client::new(server.port)
            .with("--host", SERVER_IP)
            .with("--timeout", timeout)
            .under(&Namespaces::exec(&net.client))
            .run()
    };
    let completed = client("20");
    assert_eq!(completed.total(|row| row.full), 1, "{completed:?}");
    assert!(net.retransmitted(&net.client) > 0, "a SYN");
    assert!(net.retransmitted(&net.server) > 0, "a SYN-ACK");
    poll_until("both ends are counted", DEADLINE, || {
        let metrics = agent.metrics();
        let both = metrics.sum("reprise_handshakes_total", &[]) == 2.0;
        both.then_some(()).ok_or(metrics.show("handshakes"))
    });
    let metrics = agent.metrics();
    let syn = [("phase", "syn"), ("role", "client")];
    let page = metrics.show("retransmits") + &metrics.show("with_loss");
    assert!(
        metrics.sum("reprise_handshake_retransmits_total", &syn) > 0.0,
        "{page}"
    );
    assert_eq!(metrics.sum(WITH_LOSS, &[]), 0.0, "{page}");

    // The kernel still accepts the connection, but the server does not answer.
    server.process.signal(Signal::SIGSTOP);
    let before = net.retransmitted(&net.client);
    let failed = client("3");
    assert_eq!(failed.total(|row| row.failed), 1, "{failed:?}");
    assert!(net.retransmitted(&net.client) > before, "a SYN");
    poll_until("both ends are counted", DEADLINE, || {
        let metrics = agent.metrics();
        let causes = [("client", "timeout"), ("server", "closed")];
        let both =
            causes.map(|(role, cause)| metrics.sum(FAMILY, &[("role", role), ("cause", cause)]));
        (both == [1.0; 2])
            .then_some(())
            .ok_or(metrics.show("failures_total"))
    });
    let metrics = agent.metrics();
    assert_eq!(
        metrics.sum(FAMILY, &[]),
        2.0,
        "{}",
        metrics.show("failures_total")
    );
    assert_eq!(
        metrics.sum(WITH_LOSS, &[]),
        0.0,
        "{}",
        metrics.show("with_loss")
    );
    let rows = failures(&agent);
    assert_eq!(rows.len(), 2, "{rows:?}");
    for row in rows {
        let rtt = row["rtt_seconds"].as_f64();
        assert!(rtt.is_some_and(|rtt| rtt > 1.4), "{row}");
    }
    server.process.signal(Signal::SIGCONT);
}
