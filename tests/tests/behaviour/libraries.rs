//! Libraries in unusual places and states: private copies, deleted, replaced, in another mount
//! namespace, or malformed.

use std::fs;
use std::process::Command;

use reprise_tests::libssl::{Copy, mapped_by, system};
use reprise_tests::process::{PYTHON, Process, fixture};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{observe, warm_up};
use reprise_tests::{Agent, Client, Server};
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];

fn server_with(copy: &Copy) -> Server {
    let mut python = Command::new(PYTHON);
    let server = Server::python_under(
        Sessions::Ids,
        "127.0.0.1",
        python.env("LD_LIBRARY_PATH", copy.directory()),
    );
    let (_, path) = mapped_by(server.process.pid());
    assert_eq!(
        path,
        copy.path.display().to_string(),
        "the server uses another library"
    );
    server
}

fn assert_counts_match(agent: &Agent, server: &Server) {
    observe(agent, server, &Client::new(server.port).connections(60), 60);
    agent.assert_healthy();
}

#[test]
fn a_private_copy_loaded_later() {
    let agent = Agent::start(NO_ARGUMENTS);
    let server = server_with(&Copy::new());
    warm_up(&agent, &server);
    assert_counts_match(&agent, &server);
}

#[test]
fn deleted_while_in_use() {
    let copy = Copy::new();
    let server = server_with(&copy);
    let agent = Agent::start(NO_ARGUMENTS);
    assert_counts_match(&agent, &server);
    fs::remove_file(&copy.path).expect("failed to delete the library");
    assert!(mapped_by(server.process.pid()).1.ends_with("(deleted)"));
    assert_counts_match(&agent, &server);
}

#[test]
fn deleted_before_the_agent_started() {
    let copy = Copy::new();
    let server = server_with(&copy);
    fs::remove_file(&copy.path).expect("failed to delete the library");
    assert!(mapped_by(server.process.pid()).1.ends_with("(deleted)"));
    let agent = Agent::start(NO_ARGUMENTS);
    assert_counts_match(&agent, &server);
}

#[test]
fn replaced_while_in_use() {
    let copy = Copy::new();
    let old = server_with(&copy);
    let agent = Agent::start(NO_ARGUMENTS);
    // Like a package manager: the new file gets the name, the old one remains without one.
    let new = copy.path.with_extension("new");
    fs::copy(system(), &new).expect("failed to copy libssl");
    fs::rename(&new, &copy.path).expect("failed to replace the library");
    let young = server_with(&copy);
    assert_ne!(
        mapped_by(old.process.pid()).0,
        mapped_by(young.process.pid()).0,
        "one inode"
    );
    warm_up(&agent, &young);
    assert_counts_match(&agent, &young);
    assert_counts_match(&agent, &old);
}

#[test]
fn in_another_mount_namespace() {
    let agent = Agent::start(NO_ARGUMENTS);
    let copy = Copy::new();
    let system = system();
    // The path exists on the host with another file: opening it in the agent's namespace would
    // attach to the wrong one.
    let bind = format!(
        "mount --bind {} {} && exec \"$@\"",
        copy.path.display(),
        system.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &bind, "sh", PYTHON]);
    let server = Server::python_under(Sessions::Tickets, "127.0.0.1", &mut command);
    let host = Server::python(Sessions::Tickets);
    let (inside, outside) = (
        mapped_by(server.process.pid()),
        mapped_by(host.process.pid()),
    );
    assert_eq!(inside.1, outside.1, "two paths");
    assert_ne!(inside.0, outside.0, "one inode");
    warm_up(&agent, &server);
    assert_counts_match(&agent, &server);
    assert_counts_match(&agent, &host);
}

/// Creates malformed files with the name of the library.
fn malformed(directory: &TempDir) -> Vec<String> {
    let good = fs::read(system()).expect("failed to read libssl");
    let mut wild = good.clone();
    // Fields e_shoff and e_phoff and every program header point beyond the file (gABI, chapters 4
    // and 5).
    wild[0x20..0x30].fill(0xf0);
    let mut headers = good.clone();
    headers[0x40..0x400].fill(0xff);
    let mut code = good.clone();
    // All code is replaced by bytes that form no function; symbols remain.
    let half = code.len() / 4;
    code[half..half * 3].fill(0xcc);
    let files = [
        vec![0x5a; 8192],
        vec![0; 4096],
        b"\x7fELF".to_vec(),
        good[..64].to_vec(),
        good[..4096].to_vec(),
        good[..good.len() / 2].to_vec(),
        wild,
        headers,
        code,
    ];
    let place = |(index, bytes): (usize, &Vec<u8>)| {
        let at = directory.path().join(index.to_string());
        fs::create_dir(&at).expect("failed to create a directory");
        let path = at.join("libssl.so.3");
        fs::write(&path, bytes).expect("failed to write a malformed library");
        path.display().to_string()
    };
    files.iter().enumerate().map(place).collect()
}

#[test]
fn malformed_libraries_do_no_harm() {
    let directory = TempDir::new().expect("failed to create a directory");
    let paths = malformed(&directory);
    let mapper = || {
        let process = Process::spawn(Command::new(PYTHON).arg(fixture("mapper.py")).args(&paths));
        process.wait_stdout(
            "mapped
",
        );
        process
    };
    // Mapped once before the agent starts and once after.
    let _early = mapper();
    let agent = Agent::start(NO_ARGUMENTS);
    let _late = mapper();
    // A valid library is mapped after the malformed ones: when it is observed, they have been read.
    let server = server_with(&Copy::new());
    warm_up(&agent, &server);
    assert_counts_match(&agent, &server);
    let root = directory.path().display().to_string();
    let metrics = agent.metrics();
    let listed: Vec<_> = metrics
        .matching("reprise_library_info", &[])
        .filter(|sample| sample.labels.values().any(|value| value.contains(&root)))
        .collect();
    assert!(listed.is_empty(), "listed as observed: {listed:?}");
}
