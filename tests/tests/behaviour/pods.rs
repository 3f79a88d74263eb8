//! Handshakes in Kubernetes containers are counted by the names of the pod, its container and its
//! controller if an API server is reachable, and by container ID otherwise.

use std::time::Duration;

use reprise_tests::api_server::{ApiServer, controlled, pod};
use reprise_tests::cgroup::Cgroup;
use reprise_tests::poll::poll_until;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::Expected;
use reprise_tests::{Agent, Client, Server};

const FAMILY: &str = "reprise_service_handshakes_total";
/// Namespace, pod, container and workload of an owner.
type Names<'a> = [&'a str; 4];
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

    /// Asserts that all handshakes with it, according to the client, are counted for this owner and
    /// no other.
    fn assert_is(&self, agent: &Agent, names: Names<'_>) {
        let before = agent.metrics();
        let report = Client::new(self.server.port).connections(CONNECTIONS).run();
        report.assert_mixed(CONNECTIONS);
        let port = self.server.port.to_string();
        let mut expected = Expected::default();
        let ours = ("port", port.as_str());
        let [namespace, pod, container, workload] = names;
        let sums = [
            ("full", report.total(|row| row.full)),
            ("resumed", report.total(|row| row.resumed)),
        ];
        for (resumption, count) in sums {
            let labels = [
                ours,
                ("resumption", resumption),
                ("namespace", namespace),
                ("pod", pod),
                ("container", container),
                ("workload", workload),
            ];
            expected.add(FAMILY, &labels, count);
            expected.add(FAMILY, &[ours], count);
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

const TILL_POD: &str = "till-7d9f8b6c5d-x2x9z";
const TILL: &str = "8fd4bc31-4e7c-4f40-a1b2-d1d57f0e0c11";
const LATE: &str = "11e2a6a4-94a5-4d5c-8f0e-2b7d8c9e0f21";

#[test]
fn handshakes_have_the_pod_name() {
    let (till, late) = (Contained::start(TILL, "5f"), Contained::start(LATE, "6e"));
    let [till_id, late_id] = ["5f", "6e"].map(|digits| digits.repeat(32));
    let till_pod = pod("shop", TILL_POD, TILL, &[(&till_id, "proxy")]);
    let api = ApiServer::start(vec![
        pod(
            "kube-system",
            "dns-0",
            "22222222-94a5-4d5c-8f0e-2b7d8c9e0f21",
            &[],
        ),
        controlled(till_pod, "ReplicaSet", "till-7d9f8b6c5d", "7d9f8b6c5d"),
    ]);
    let agent = start(&api, &[]);
    wait_watches(&api, &agent, 1);
    let till_names = ["shop", TILL_POD, "proxy", "till"];
    till.assert_is(&agent, till_names);
    // The container has its ID until the pod is known.
    late.assert_is(&agent, ["", "", "6e6e6e6e6e6e", "python3"]);
    let starting = pod("shop", "late-0", LATE, &[]);
    api.send("ADDED", &controlled(starting, "StatefulSet", "late", ""));
    wait_owner(&agent, &late, ["shop", "late-0", "6e6e6e6e6e6e", "late"]);
    let started = pod("shop", "late-0", LATE, &[(&late_id, "app")]);
    api.send("MODIFIED", &controlled(started, "StatefulSet", "late", ""));
    let late_names = ["shop", "late-0", "app", "late"];
    wait_owner(&agent, &late, late_names);
    late.assert_is(&agent, late_names);

    // Without the API server observation continues, and the agent retries.
    api.fail(true);
    till.assert_is(&agent, till_names);
    agent.assert_healthy();
    api.fail(false);
    wait_watches(&api, &agent, 2);
    late.assert_is(&agent, late_names);
    let (code, took) = agent.terminate();
    assert_eq!(code, Some(0));
    assert!(
        took < Duration::from_secs(3),
        "a watch delayed it: {took:?}"
    );
}

/// Two containers of one pod have the same network namespace and are two services.
#[test]
fn containers_of_one_pod_are_apart() {
    let (proxy, app) = (Contained::start(TILL, "5f"), Contained::start(TILL, "6e"));
    let [proxy_id, app_id] = ["5f", "6e"].map(|digits| digits.repeat(32));
    let containers = [(proxy_id.as_str(), "proxy"), (app_id.as_str(), "app")];
    let job = pod("shop", TILL_POD, TILL, &containers);
    let api = ApiServer::start(vec![controlled(job, "Job", "till-29384756", "")]);
    let agent = start(&api, &[]);
    wait_watches(&api, &agent, 1);
    proxy.assert_is(&agent, ["shop", TILL_POD, "proxy", "till"]);
    app.assert_is(&agent, ["shop", TILL_POD, "app", "till"]);
}

/// Makes handshakes until one is counted for this owner.
fn wait_owner(agent: &Agent, contained: &Contained, names: Names<'_>) {
    let labels = ["namespace", "pod", "container", "workload"];
    let labels: Vec<_> = labels.into_iter().zip(names).collect();
    poll_until("the pod becomes known", RETRY, || {
        let before = agent.metrics();
        let made = Client::new(contained.server.port)
            .once_from("127.0.0.99")
            .run();
        let port = contained.server.port.to_string();
        Expected::default()
            .add(
                FAMILY,
                &[("port", port.as_str())],
                made.total(|row| row.full),
            )
            .assert_counted(agent, &before);
        let metrics = agent.metrics();
        match metrics.sum(FAMILY, &labels) {
            0.0 => Err(metrics.show("service_handshakes")),
            _ => Ok(()),
        }
    });
}

#[test]
fn without_pod_names_the_api_server_is_not_queried() {
    let till = Contained::start(TILL, "5f");
    let api = ApiServer::start(vec![pod("shop", TILL_POD, TILL, &[])]);
    let agent = start(&api, &["--pod-names", "off"]);
    till.assert_is(&agent, ["", "", "5f5f5f5f5f5f", "python3"]);
    assert_eq!(api.requests(), [""; 0]);
}
