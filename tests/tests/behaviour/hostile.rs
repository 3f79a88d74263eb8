//! Attacks on the discovery of libraries by a local user, and by file systems that hang.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use reprise_tests::libssl::{Copy, mapped_by, system};
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::{PYTHON, Process, fixture};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::{observe, warm_up};
use reprise_tests::{Agent, Client, Server};
use serde_json::Value;
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];
/// A user without any right.
const NOBODY: &str = "65534";

fn server_from(directory: &Path, command: &mut Command) -> Server {
    Server::python_under(
        Sessions::Tickets,
        "127.0.0.1",
        command.env("LD_LIBRARY_PATH", directory),
    )
}

fn assert_counts_match(agent: &Agent, server: &Server) {
    warm_up(agent, server);
    observe(agent, server, &Client::new(server.port).connections(40), 40);
    agent.assert_healthy();
}

/// Starts a process that maps files as code.
fn map(command: &mut Command, paths: &[std::path::PathBuf]) -> Process {
    let process = Process::spawn(command.arg(fixture("mapper.py")).args(paths));
    process.wait_stdout("mapped\n");
    process
}

/// Number of unobserved processes for a reason.
fn uncovered(agent: &Agent, reason: &str) -> f64 {
    let labels = [("reason", reason)];
    agent.metrics().sum("reprise_uncovered_processes", &labels)
}

fn expect_uncovered(agent: &Agent, reason: &str, count: f64) {
    poll_until("so many processes are not observed", DEADLINE, || {
        let found = uncovered(agent, reason);
        if found == count {
            return Ok(());
        }
        let body = agent.get("/api/v1/libraries").map(|response| response.body);
        Err(format!(
            "{reason}: {found}, not {count}: {body:?}; {}",
            agent.stderr()
        ))
    });
}

/// The findings about unobserved processes for a reason.
fn findings(agent: &Agent, reason: &str) -> String {
    let body = agent.get("/api/v1/libraries").expect("no response").body;
    let body: Value = serde_json::from_str(&body).expect("no JSON");
    let rows = body["uncovered"].as_array().expect("no list");
    let row = rows.iter().find(|row| row["reason"] == reason);
    row.map(|row| row["examples"].to_string())
        .unwrap_or_default()
}

/// An ELF file of 512 MiB, almost all of it a hole, with many segments that hold the whole file.
fn crafted(path: &Path, segments: u16) {
    let mut bytes = fs::read(system()).expect("failed to read libssl");
    let table = bytes.len().next_multiple_of(8);
    bytes.resize(table, 0);
    // e_phoff, e_shoff and e_phnum (gABI, chapter 4).
    bytes[0x20..0x28].copy_from_slice(&(table as u64).to_le_bytes());
    bytes[0x28..0x30].fill(0);
    bytes[0x38..0x3a].copy_from_slice(&segments.to_le_bytes());
    bytes[0x3c..0x40].fill(0);
    let size = 512_u64 << 20;
    for index in 0..u64::from(segments) {
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(5_u32.to_le_bytes());
        let address = index << 32;
        let words = [0, address, address, size, size, 4096].map(u64::to_le_bytes);
        bytes.extend(words.concat());
    }
    let file = File::create(path).expect("failed to create a file");
    file.write_all_at(&bytes, 0).expect("failed to write");
    file.set_len(size).expect("failed to resize a file");
}

#[test]
fn crafted_files_delay_nobody() {
    let directory = TempDir::new().expect("failed to create a directory");
    let paths = [60, 65_000].map(|segments| {
        let path = directory.path().join(format!("libssl-{segments}.so.3"));
        crafted(&path, segments);
        path
    });
    let agent = Agent::start(NO_ARGUMENTS);
    let _mapper = map(&mut Command::new(PYTHON), &paths);
    let server = server_from(Copy::new().directory(), &mut Command::new(PYTHON));
    assert_counts_match(&agent, &server);
    expect_uncovered(&agent, "too_much_work", 1.0);
    agent.assert_healthy();
}

#[test]
fn a_hung_file_system_is_left_alone() {
    if !Path::new("/dev/fuse").exists() {
        eprintln!("NOT RUN: this kernel has no FUSE");
        return;
    }
    let [mounted, other] = [(); 2].map(|()| TempDir::new().expect("failed to create a directory"));
    let stop = other.path().join("stop");
    // Dropped after the FUSE server: the hanging processes cannot end before it.
    let (agent, server, mapper);
    let mut fuse = Command::new(PYTHON);
    fuse.arg(fixture("fuse.py"))
        .arg(mounted.path())
        .arg(system())
        .arg(&stop);
    let fuse = Process::spawn(&mut fuse);
    fuse.wait_stdout("mounted\n");
    let name = system().file_name().expect("has a name").to_owned();
    let path = mounted.path().join(name);
    mapper = map(&mut Command::new(PYTHON), std::slice::from_ref(&path));
    fs::write(&stop, "").expect("failed to write a file");
    let begin = Instant::now();
    agent = Agent::start(NO_ARGUMENTS);
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "{:?}",
        begin.elapsed()
    );
    server = server_from(Copy::new().directory(), &mut Command::new(PYTHON));
    assert_counts_match(&agent, &server);
    expect_uncovered(&agent, "unresponsive", 1.0);
    let ready = agent.get("/readyz").expect("no response");
    let shown = path.display().to_string();
    assert!(
        ready.status == 200 && ready.body.contains(&shown),
        "{ready:?}"
    );
    assert!(
        agent.stderr().contains("does not answer"),
        "{}",
        agent.stderr()
    );
    // The end of the server ends the connection: the requests fail.
    drop(fuse);
    drop(mapper);
    expect_uncovered(&agent, "unresponsive", 0.0);
    poll_until("nothing hangs any more", DEADLINE, || {
        let ready = agent.get("/readyz")?;
        if ready.body.contains(&shown) {
            Err(ready.body)
        } else {
            Ok(())
        }
    });
    umount2(mounted.path(), MntFlags::MNT_DETACH).expect("failed to unmount");
    let (code, _) = agent.terminate();
    assert_eq!(code, Some(0));
}

#[test]
fn copies_of_a_library_do_not_push_out_others() {
    let directory = TempDir::new().expect("failed to create a directory");
    let copies: Vec<_> = (0..30)
        .map(|index| {
            let path = directory.path().join(format!("libssl-{index}.so.3"));
            fs::copy(system(), &path).expect("failed to copy libssl");
            path
        })
        .collect();
    // Few descriptors are fewer places than copies.
    let agent = Agent::start_under(&["prlimit", "--nofile=340:340"], NO_ARGUMENTS);
    assert!(
        agent.stderr().contains("RLIMIT_NOFILE"),
        "{}",
        agent.stderr()
    );
    let mut nobody = Command::new("setpriv");
    nobody.args([
        "--reuid",
        NOBODY,
        "--regid",
        NOBODY,
        "--clear-groups",
        PYTHON,
    ]);
    // Readable for that user.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), mode).expect("failed to change a mode");
    let hostile = map(&mut nobody, &copies);
    expect_uncovered(&agent, "too_many_libraries", 0.0);
    let text = agent.stderr();
    poll_until("all places are taken", DEADLINE, || {
        let refused = agent
            .stderr()
            .contains("places for observed library files are taken");
        if refused { Ok(()) } else { Err(text.clone()) }
    });
    let copy = Copy::new();
    let server = server_from(copy.directory(), &mut Command::new(PYTHON));
    assert_counts_match(&agent, &server);
    // A file that was refused gets a place that becomes free.
    drop(hostile);
    let late = Copy::new();
    let second = server_from(late.directory(), &mut Command::new(PYTHON));
    assert_counts_match(&agent, &second);
    assert_counts_match(&agent, &server);
    assert!(!agent.stderr().contains("verifier"), "{}", agent.stderr());
}

#[test]
fn names_and_groups_of_any_kind_hide_no_process() {
    let agent = Agent::start(NO_ARGUMENTS);
    let directory = TempDir::new().expect("failed to create a directory");
    let strange = directory
        .path()
        .join(OsString::from_vec(b"\xff \n\xfe".to_vec()));
    fs::create_dir(&strange).expect("failed to create a directory");
    let name = system().file_name().expect("has a name").to_owned();
    fs::copy(system(), strange.join(name)).expect("failed to copy libssl");
    let server = server_from(&strange, &mut Command::new(PYTHON));
    assert_counts_match(&agent, &server);
    let copy = Copy::new();
    let groups: Vec<_> = (2_000_000_000..2_000_000_900_u32)
        .map(|group| group.to_string())
        .collect();
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--groups={}", groups.join(",")))
        .arg(PYTHON);
    let server = server_from(copy.directory(), &mut command);
    let status = fs::read(format!("/proc/{}/status", server.process.pid())).expect("it runs");
    assert!(status.len() > 4096, "{} bytes", status.len());
    assert_counts_match(&agent, &server);
}

#[test]
fn a_program_under_valgrind_survives() {
    let valgrind = Path::new("/usr/bin/valgrind");
    if !valgrind.exists() {
        eprintln!("NOT RUN: Valgrind is not installed");
        return;
    }
    let server = Server::python(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    assert_counts_match(&agent, &server);
    let mut command = Command::new(valgrind);
    command.args(["--tool=none", "openssl", "s_client", "-connect"]);
    command.arg(format!("127.0.0.1:{}", server.port));
    let mut client = Process::spawn(&mut command);
    let (_, library) = mapped_by(server.process.pid());
    poll_until("the library is left to Valgrind", DEADLINE, || {
        let stderr = agent.stderr();
        let is_named =
            stderr.contains("a translator such as Valgrind") && stderr.contains(&library);
        if is_named { Ok(()) } else { Err(stderr) }
    });
    let (status, _) = client.wait(DEADLINE);
    assert!(status.success(), "{status}: {}", client.stderr());
    assert!(
        client.stdout().contains("New, TLSv1."),
        "{}",
        client.stdout()
    );
    expect_uncovered(&agent, "translated", 0.0);
    assert_counts_match(&agent, &server);
}

#[test]
fn the_library_of_an_excluded_program_has_no_probes() {
    let program = fs::canonicalize(PYTHON).expect("failed to find the program");
    let agent = Agent::start(["--ignore-process".as_ref(), program.as_os_str()]);
    let server = server_from(Copy::new().directory(), &mut Command::new(PYTHON));
    poll_until("the library is left to the program", DEADLINE, || {
        let found = findings(&agent, "ignored");
        if found.contains("--ignore-process") {
            Ok(())
        } else {
            Err(found)
        }
    });
    assert_counts_match(&agent, &server);
}

#[test]
fn libraries_that_come_and_go_do_not_fill_the_log() {
    let agent = Agent::start(NO_ARGUMENTS);
    for _ in 0..50 {
        let copy = Copy::new();
        let mapper = map(&mut Command::new(PYTHON), std::slice::from_ref(&copy.path));
        std::thread::sleep(Duration::from_millis(50));
        drop(mapper);
    }
    let server = server_from(Copy::new().directory(), &mut Command::new(PYTHON));
    assert_counts_match(&agent, &server);
    let stderr = agent.stderr();
    let lines = stderr
        .lines()
        .filter(|line| line.contains("library"))
        .count();
    assert!(lines <= 40, "{lines} lines: {stderr}");
    assert_eq!(findings(&agent, "attach_failed"), "");
}
