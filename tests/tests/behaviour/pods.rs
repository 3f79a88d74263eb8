//! Handshakes in Kubernetes containers are counted by pod name if an API server is reachable, and
//! by container ID otherwise.

use std::time::Duration;

use reprise_tests::api_server::{ApiServer, pod};
use reprise_tests::cgroup::Cgroup;
use reprise_tests::poll::poll_until;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Client, Server};

const FAMILY: &str = "reprise_workload_handshakes_total";
/// Connections per client run.
const CONNECTIONS: u32 = 20;
/// The agent retries after one or two seconds.
const RETRY: Duration = Duration::from_secs(30);

/// A server in a container of a pod; dropping it removes its cgroups.
struct Contained {
    server: Server,
    _cgroup: Cgroup,
}

impl Contained {
    /// Cgroup of the pod, named as by the systemd driver.
    fn start(uid: &str, container: &str) -> Self {
        let uid = uid.replace('-', "_");
        let id = container.repeat(32);
        let cgroup = Cgroup::new(&format!(
            "kubepods-burstable-pod{uid}.slice/cri-containerd-{id}.scope"
        ));
        let server = Server::python_under(Sessions::Tickets, "127.0.0.1", &mut cgroup.python());
        Self {
            server,
            _cgroup: cgroup,
        }
    }

    /// Asserts that all handshakes with it, according to the client, are counted for this workload
    /// and no other.
    fn assert_is(&self, agent: &Agent, workload: &str) {
        let before = agent.metrics();
        let report = Client::new(self.server.port).connections(CONNECTIONS).run();
        report.assert_mixed(CONNECTIONS);
        let port = self.server.port.to_string();
        let mut expected = Expected::default();
        let ours = [("port", port.as_str()), ("role", "server")];
        let sums = [
            ("full", report.total(|row| row.full)),
            ("resumed", report.total(|row| row.resumed)),
        ];
        for (resumption, count) in sums {
            let labels = [
                ours[0],
                ours[1],
                ("resumption", resumption),
                ("workload", workload),
            ];
            expected.add(FAMILY, &labels, count);
            expected.add(FAMILY, &ours, count);
        }
        expected.assert_counted(agent, &before);
    }
}

fn start(api: &ApiServer, args: &[&str]) -> Agent {
    let prefix = api.in_a_pod();
    let agent = Agent::start_under(&prefix.each_ref().map(String::as_str), args);
    agent.wait_libraries(1);
    agent
}

/// Number of watch requests.
fn watches(api: &ApiServer) -> usize {
    let requests = api.requests();
    requests
        .iter()
        .filter(|line| line.contains("watch=true"))
        .count()
}

fn wait_watches(api: &ApiServer, agent: &Agent, count: usize) {
    poll_until("the agent watches", RETRY, || match watches(api) {
        have if have >= count => Ok(()),
        have => Err(format!(
            "{have}: {:?}; stderr: {}",
            api.requests(),
            agent.stderr()
        )),
    });
}

const TILL: &str = "8fd4bc31-4e7c-4f40-a1b2-d1d57f0e0c11";
const LATE: &str = "11e2a6a4-94a5-4d5c-8f0e-2b7d8c9e0f21";

#[test]
fn handshakes_have_the_pod_name() {
    let (till, late) = (Contained::start(TILL, "5f"), Contained::start(LATE, "6e"));
    let api = ApiServer::start(vec![
        pod(
            "kube-system",
            "dns-0",
            "22222222-94a5-4d5c-8f0e-2b7d8c9e0f21",
        ),
        pod("shop", "till-0", TILL),
    ]);
    let agent = start(&api, &[]);
    wait_watches(&api, &agent, 1);
    till.assert_is(&agent, "pod/shop/till-0");
    // The workload is the container until the pod is known.
    late.assert_is(&agent, "container/6e6e6e6e6e6e");
    api.send("ADDED", &pod("shop", "late-0", LATE));
    // Each event is sent once the previous one has taken effect.
    poll_until("the pod becomes known", RETRY, || {
        let before = agent.metrics();
        let made = Client::new(late.server.port).once_from("127.0.0.99").run();
        let port = late.server.port.to_string();
        let labels = [("port", port.as_str()), ("role", "server")];
        Expected::default()
            .add(FAMILY, &labels, made.total(|row| row.full))
            .assert_counted(&agent, &before);
        let metrics = agent.metrics();
        match metrics.sum(FAMILY, &[("workload", "pod/shop/late-0")]) {
            0.0 => Err(metrics.show("workload")),
            _ => Ok(()),
        }
    });
    late.assert_is(&agent, "pod/shop/late-0");

    // Without the API server observation continues, and the agent retries.
    api.fail(true);
    till.assert_is(&agent, "pod/shop/till-0");
    agent.assert_healthy();
    api.fail(false);
    wait_watches(&api, &agent, 2);
    late.assert_is(&agent, "pod/shop/late-0");
    let (code, took) = agent.terminate();
    assert_eq!(code, Some(0));
    assert!(
        took < Duration::from_secs(3),
        "a watch delayed it: {took:?}"
    );
}

#[test]
fn without_pod_names_the_api_server_is_not_queried() {
    let till = Contained::start(TILL, "5f");
    let api = ApiServer::start(vec![pod("shop", "till-0", TILL)]);
    let agent = start(&api, &["--pod-names", "off"]);
    till.assert_is(&agent, "container/5f5f5f5f5f5f");
    assert_eq!(api.requests(), [""; 0]);
}
