//! The tables in the kernel at their bounds: what is evicted is counted, one process cannot push
//! out the handshakes of others, and nothing of an ended process remains.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::TcpStream,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use reprise_ebpf::handshake::{MAX_OPEN, MAX_OPEN_PER_PROCESS};
use reprise_tests::{
    Agent, Client, Metrics, Server, kernel_maps,
    poll::{DEADLINE, poll_until},
    process::{PYTHON, Process, fixture},
    servers::Sessions,
    truth::{Expected, warm_up},
};

/// Maps with the process or thread in their key.
const MAPS: [&str; 7] = [
    "HS_TASKS",
    "HS_FRAMES",
    "HS_ACTIVE",
    "HS_RECEIVED",
    "HS_FREEING",
    "HS_ERRORS",
    "HS_UNSENT",
];
const OPEN: [(&str, &str); 1] = [("table", "open_handshakes")];
const LOST: [(&str, &str); 1] = [("sensor", "handshake")];
/// Time for handshakes that wait to be opened, on a busy machine.
const OPENING: Duration = Duration::from_secs(120);

/// Starts processes that leave handshakes open, and waits until all are.
fn hold_open(count: u32, children: u32) -> Process {
    let mut command = Command::new(PYTHON);
    command.arg(fixture("open_handshakes.py"));
    command.args([count.to_string(), children.to_string()]);
    let mut process = Process::spawn(&mut command);
    poll_until("handshakes are open", OPENING, || {
        assert!(process.exit_status().is_none(), "{}", process.stderr());
        let open = process.stdout().contains("open");
        open.then_some(()).ok_or_else(|| process.stderr())
    });
    process
}

/// Handshakes that are open, evicted, and refused.
fn accounted(metrics: &Metrics) -> [f64; 3] {
    [
        metrics.sum("reprise_tracked", &OPEN),
        metrics.sum("reprise_evictions_total", &OPEN),
        metrics.sum("reprise_events_lost_total", &LOST),
    ]
}

#[test]
fn one_process_cannot_push_out_the_handshakes_of_others() {
    let server = Server::haproxy(Sessions::Ids);
    let agent = Agent::start([""; 0]);
    agent.wait_libraries(1);
    warm_up(&agent, &server);
    // A handshake of the server that waits for its ClientHello.
    let mut waiting = TcpStream::connect(("127.0.0.1", server.port)).expect("no connection");
    waiting.write_all(&[22]).expect("closed");
    let begun = 20_000;
    let attacker = hold_open(begun, 1);
    let expected = f64::from(begun) + 1.0;
    poll_until("every handshake is accounted for", DEADLINE, || {
        let metrics = agent.metrics();
        let accounted = accounted(&metrics);
        let sum = accounted.iter().sum::<f64>();
        if sum == expected && accounted[0] <= f64::from(MAX_OPEN_PER_PROCESS) + 1.0 {
            Ok(())
        } else {
            Err(format!("{accounted:?} of {expected}"))
        }
    });
    let mut by_process = BTreeMap::<u32, u32>::new();
    for tgid in kernel_maps::processes_in("HS_OPEN") {
        *by_process.entry(tgid).or_default() += 1;
    }
    let most = by_process.values().max();
    assert!(most.is_some_and(|&most| most <= MAX_OPEN_PER_PROCESS));
    assert_eq!(by_process.len(), 2, "{by_process:?}");
    // The server's handshake is still open, and others are counted exactly.
    let before = agent.metrics();
    let report = Client::new(server.port).connections(30).run();
    report.assert_mixed(30);
    Expected::default()
        .add_report(&server, &report)
        .assert_counted(&agent, &before);
    drop(attacker);
    poll_until("nothing of the attacker remains", DEADLINE, || {
        let open = agent.metrics().sum("reprise_tracked", &OPEN);
        (open <= 1.0).then_some(()).ok_or(format!("{open}"))
    });
    drop(waiting);
}

#[test]
fn evictions_of_the_kernel_are_counted_exactly() {
    let agent = Agent::start([""; 0]);
    agent.wait_libraries(1);
    let (each, children) = (8_000, 10);
    let began = Instant::now();
    let attackers = hold_open(each, children);
    println!("{each} × {children} open after {:?}", began.elapsed());
    let expected = f64::from(each * children);
    poll_until("every handshake is accounted for", DEADLINE, || {
        let in_map = kernel_maps::processes_in("HS_OPEN").len() as f64;
        let accounted = accounted(&agent.metrics());
        let exact = accounted[0] == in_map && accounted.iter().sum::<f64>() == expected;
        exact
            .then_some(())
            .ok_or(format!("{accounted:?} of {expected}, {in_map} in the map"))
    });
    let metrics = agent.metrics();
    let evicted = metrics.sum("reprise_evictions_total", &OPEN);
    assert!(evicted >= expected - f64::from(MAX_OPEN), "{evicted}");
    // At the bound the sweep is cheap. The limit is generous: other tests load the machine, too.
    let before = cpu_time(agent.pid());
    thread::sleep(Duration::from_secs(5));
    let share = (cpu_time(agent.pid()) - before).as_secs_f64() / 5.0;
    println!("{:.1} % of a core at the bound", share * 100.0);
    assert!(share < 0.25, "{share}");
    drop(attackers);
    poll_until("all are ended", DEADLINE, || {
        let open = agent.metrics().sum("reprise_tracked", &OPEN);
        (open == 0.0).then_some(()).ok_or(format!("{open}"))
    });
}

/// Time on CPUs of a process.
fn cpu_time(pid: u32) -> Duration {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).expect("the process has ended") {
        let path = task.expect("a thread").path().join("schedstat");
        let text = fs::read_to_string(path).unwrap_or_default();
        sum += text
            .split(' ')
            .next()
            .and_then(|ns| ns.parse().ok())
            .unwrap_or(0);
    }
    Duration::from_nanos(sum)
}

#[test]
fn nothing_of_an_ended_process_remains() {
    let server = Server::haproxy(Sessions::Ids);
    let agent = Agent::start([""; 0]);
    agent.wait_libraries(1);
    warm_up(&agent, &server);
    let before = kernel_maps::drivers();
    let mut churn = Process::spawn(
        Command::new(PYTHON)
            .arg(fixture("churn.py"))
            .args([server.port.to_string(), "40".to_owned()]),
    );
    let (status, _) = churn.wait(OPENING);
    assert!(status.success(), "{}", churn.stderr());
    drop(churn);
    let mut ended = BTreeMap::new();
    for name in MAPS {
        let mut processes = kernel_maps::processes_in(name);
        processes.retain(|tgid| !Path::new(&format!("/proc/{tgid}")).exists());
        if !processes.is_empty() {
            ended.insert(name, processes);
        }
    }
    assert_eq!(ended, BTreeMap::new());
    assert_eq!(kernel_maps::drivers(), before);
    poll_until("their open handshakes are ended", DEADLINE, || {
        let open = kernel_maps::processes_in("HS_OPEN");
        open.is_empty().then_some(()).ok_or(format!("{open:?}"))
    });
    let metrics = agent.metrics();
    assert_eq!(
        accounted(&metrics),
        [0.0; 3],
        "{}",
        metrics.show("handshake")
    );
}
