//! Start and end of the agent: exit statuses, messages, and hosts with missing requirements.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use reprise_tests::agent::command;
use reprise_tests::binary::binary;
use reprise_tests::host::{hiding, public_copy};
use reprise_tests::ports::free_port;
use reprise_tests::servers::Sessions;
use reprise_tests::truth::observe;
use reprise_tests::{Agent, Client, Server, host_lock, user};
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];

fn assert_exit(output: &Output, code: i32, names: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "stderr: {stderr}");
    assert!(
        names.iter().any(|name| stderr.contains(name)),
        "none of {names:?} in stderr: {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// Asserts status 2 with a single line.
fn assert_usage(output: &Output, name: &str) {
    assert_exit(output, 2, &[name]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.trim().lines().count(), 1, "one line, not: {stderr}");
}

#[test]
fn the_end_of_the_reader_of_its_output_is_no_panic() {
    host_lock::acquire();
    let closed = || io::pipe().expect("failed to create a pipe").1;
    for (words, code) in [
        (["check", "--json"].as_slice(), 0),
        (&["check"], 0),
        (&["--help"], 0),
        (&["no-such-command"], 2),
        (&["replay", "/no/such/file"], 2),
    ] {
        let mut agent = user::agent();
        agent.args(words).stdout(closed()).stderr(closed());
        let status = agent.status().expect("failed to start the agent");
        assert_eq!(status.code(), Some(code), "{words:?}");
    }
}

#[test]
fn the_end_of_the_reader_of_its_log_does_not_end_it() {
    let directory = TempDir::new().expect("failed to create a directory");
    let log = directory.path().join("log");
    mkfifo(&log, Mode::S_IRUSR | Mode::S_IWUSR).expect("failed to create a named pipe");
    let reader = {
        let log = log.clone();
        thread::spawn(move || {
            let mut line = String::new();
            let log = File::open(log).expect("failed to open a named pipe");
            let read = BufReader::new(log).read_line(&mut line);
            read.map(|_| line)
        })
    };
    let redirect = format!("exec \"$@\" 2>{}", log.display());
    let user = user::command_prefix();
    let words = ["sh", "-c", &redirect, "sh"].into_iter();
    let words: Vec<_> = words.chain(user.iter().map(String::as_str)).collect();
    let agent = Agent::start_by(&words, NO_ARGUMENTS);
    let line = reader.join().expect("the reader panicked");
    assert!(line.is_ok_and(|line| line.contains("INFO")), "no log");
    // It logs the library of a new server.
    let _server = Server::python(Sessions::Ids);
    agent.wait_libraries(1);
    agent.assert_healthy();
    let (code, _) = agent.terminate();
    assert_eq!(code, Some(0));
}

#[test]
fn sigterm_and_sigint_end_it_with_success() {
    let server = Server::haproxy(Sessions::Ids);
    let agent = Agent::start(NO_ARGUMENTS);
    observe(
        &agent,
        &server,
        &Client::new(server.port).connections(30),
        30,
    );
    // A silent client must not delay the end.
    let _idle = TcpStream::connect(agent.address).expect("failed to connect to the agent");
    let (code, took) = agent.terminate();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(2), "{took:?}");
    // The probes are removed and the server is unharmed.
    let report = Client::new(server.port).connections(30).run();
    report.assert_mixed(30);

    let agent = Agent::start(NO_ARGUMENTS);
    agent.signal(Signal::SIGINT);
    let (code, took) = agent.wait_exit();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn two_agents_count_the_same() {
    let server = Server::nginx(Sessions::Tickets);
    let (one, two) = (Agent::start(NO_ARGUMENTS), Agent::start(NO_ARGUMENTS));
    let before = two.metrics();
    let report = observe(&one, &server, &Client::new(server.port).connections(60), 60);
    let mut expected = reprise_tests::truth::Expected::default();
    let last = Client::new(server.port).once_from("127.0.0.99").run();
    // `observe` has made one handshake itself from that address.
    expected
        .add_report(&server, &report)
        .add_report(&server, &last)
        .add_report(&server, &last)
        .assert_counted(&two, &before);
}

#[test]
fn an_address_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("failed to bind any port");
    let address = taken
        .local_addr()
        .expect("failed to read the bound address")
        .to_string();
    assert_exit(&command(["run", "--listen", &address]), 1, &[&address]);
}

#[test]
fn wrong_usage() {
    let listen = format!("127.0.0.1:{}", free_port());
    assert_usage(&command(["run", "--no-such-flag"]), "--no-such-flag");
    assert_usage(&command(["no-such-command"]), "no-such-command");
    assert_usage(&command(["run", "--listen", "nowhere"]), "--listen");
    assert_usage(
        &command(["run", "--listen", &listen, "--peer-prefix-v4", "33"]),
        "--peer-prefix-v4",
    );
    assert_usage(
        &command(["run", "--listen", &listen, "--max-peers", "many"]),
        "--max-peers",
    );
}

#[test]
fn an_unusable_peer_file() {
    let listen = format!("127.0.0.1:{}", free_port());
    let directory = TempDir::new().expect("failed to create a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("syntax.toml"), "[groups\n").expect("failed to write a peer file");
    fs::write(path("cidr.toml"), "[groups]\nlab = [\"10.0.0.0/99\"]\n")
        .expect("failed to write a peer file");
    fs::write(path("bytes.toml"), [0xff, 0xfe, 0]).expect("failed to write a peer file");
    fs::create_dir(path("directory.toml")).expect("failed to create a directory");
    for name in [
        "missing.toml",
        "syntax.toml",
        "cidr.toml",
        "bytes.toml",
        "directory.toml",
    ] {
        let output = command(["run", "--listen", &listen, "--peer-file", &path(name)]);
        assert_usage(&output, &path(name));
    }
}

#[test]
fn an_unusable_recording() {
    let directory = TempDir::new().expect("failed to create a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("garbage"), [0x5a; 4096]).expect("failed to write a file");
    fs::write(path("empty"), []).expect("failed to write a file");
    for name in ["missing", "garbage", "empty"] {
        let output = command(["replay", &path(name), "--metrics"]);
        let code = output.status.code();
        assert!(matches!(code, Some(1 | 2)), "{name}: {code:?}");
        assert_exit(&output, code.unwrap_or_default(), &[&path(name)]);
    }
}

fn setpriv(options: &[&str], path: &str) -> Output {
    let listen = format!("127.0.0.1:{}", free_port());
    let mut setpriv = Command::new("timeout");
    setpriv
        .args(["30", "setpriv"])
        .args(options)
        .args([path, "run", "--listen", &listen]);
    setpriv.output().expect("failed to run setpriv")
}

#[test]
fn not_root() {
    let (_directory, path) = public_copy();
    let output = setpriv(&["--reuid=65534", "--regid=65534", "--clear-groups"], &path);
    assert_exit(&output, 77, &["CAP_"]);
}

#[test]
fn root_without_its_capabilities() {
    let (_directory, path) = public_copy();
    let output = setpriv(&["--bounding-set=-sys_admin,-bpf,-perfmon"], &path);
    assert_exit(&output, 77, &["CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON"]);
}

/// Asserts that the agent observes correctly without the hidden directories.
fn works_without(directories: &str) {
    let prefix = hiding(directories);
    let agent = Agent::start_under(&prefix.each_ref().map(String::as_str), NO_ARGUMENTS);
    let server = Server::haproxy(Sessions::Ids);
    agent.wait_libraries(1);
    observe(
        &agent,
        &server,
        &Client::new(server.port).connections(30),
        30,
    );
    // All sensors are attached: none needs the hidden files.
    assert!(
        agent
            .metrics()
            .matching("reprise_handshake_retransmits_total", &[])
            .next()
            .is_some()
    );
}

#[test]
fn tracefs_that_is_not_mounted() {
    let mounts = || fs::read_to_string("/proc/self/mounts").expect("failed to read the mounts");
    let before = mounts();
    works_without("/sys/kernel/tracing /sys/kernel/debug");
    assert_eq!(mounts(), before, "the agent's own mount shows on the host");
}

#[test]
fn tracefs_that_cannot_be_mounted() {
    let listen = format!("127.0.0.1:{}", free_port());
    let [program, words @ ..] = hiding("/sys/kernel");
    let mut command = Command::new(program);
    command
        .args(words)
        .args(["timeout", "20"])
        .arg(binary())
        .args(["run", "--listen", &listen]);
    assert_exit(
        &command.output().expect("failed to run unshare"),
        77,
        &["tracefs"],
    );
}

#[test]
fn no_btf() {
    works_without("/sys/kernel/btf");
}
