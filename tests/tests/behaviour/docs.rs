//! Commands and configuration files in the documentation: each is run, or read by the program that
//! it is for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reprise_tests::binary::binary;
use reprise_tests::certificates::rsa;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::servers::Sessions;
use reprise_tests::truth::warm_up;
use reprise_tests::{Agent, Client, Server, user};
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];

pub(crate) fn doc(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    fs::read_to_string(path).expect("failed to read a doc")
}

/// Returns the fenced code blocks of a language.
pub(crate) fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    let begin = format!("```{language}\n");
    while let Some((_, after)) = rest.split_once(&begin) {
        let (block, after) = after.split_once("```").expect("a block without end");
        found.push(block.to_owned());
        rest = after;
    }
    assert!(!found.is_empty(), "no block of {language}");
    found
}

/// Returns the commands in the console blocks of a text; a line that ends with `\` or `|`
/// continues.
fn console(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for block in blocks(text, "console") {
        let mut continues = false;
        for line in block.lines().map(str::trim) {
            match line.strip_prefix("$ ") {
                Some(command) => found.push(command.to_owned()),
                None if continues => {
                    let command = found.last_mut().expect("a continued command");
                    *command = format!("{} {line}", command.trim_end_matches('\\'));
                }
                None => {}
            }
            continues = line.ends_with(['\\', '|']);
        }
    }
    found
}

/// Returns the pages in `docs/runbooks`.
fn runbooks() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbooks");
    let entries = fs::read_dir(path).expect("the runbooks").flatten();
    let names = entries.map(|entry| entry.file_name().into_string().expect("a name in UTF-8"));
    names.map(|name| doc(&format!("runbooks/{name}"))).collect()
}

fn shell(command: &str) -> Output {
    let output = Command::new("sh").args(["-ec", command]).output();
    output.expect("failed to start a shell")
}

fn passed(what: &str, output: &Output) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}\n{stdout}{stderr}");
}

#[test]
fn commands_run() {
    let agent = Agent::start(NO_ARGUMENTS);
    let directory = user::directory();
    // The binary is called by name, as by a reader.
    let program = directory.path().join("reprise");
    let words = [user::command_prefix(), vec![binary().display().to_string()]].concat();
    let script = format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "));
    fs::write(&program, script).expect("failed to write a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("failed to set a mode");
    let path = std::env::var("PATH").expect("no PATH");
    for block in blocks(&doc("operating.md"), "sh") {
        let block = block
            .replace("127.0.0.1:9797", &agent.address.to_string())
            .replace("/tmp/", &format!("{}/", directory.path().display()));
        let output = Command::new("sh")
            .args(["-ec", &block])
            .env("PATH", format!("{}:{path}", directory.path().display()))
            .output()
            .expect("failed to start a shell");
        passed(&block, &output);
        assert!(!output.stdout.is_empty(), "{block} says nothing");
    }
    agent.assert_healthy();
}

struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        let directory = TempDir::new().expect("failed to create a directory");
        let random = |count: usize| {
            (0..count)
                .map(|n| u8::try_from(n * 7 % 251).expect("small"))
                .collect::<Vec<_>>()
        };
        fs::write(directory.path().join("key48"), random(48)).expect("failed to write a key");
        fs::write(directory.path().join("key80"), random(80)).expect("failed to write a key");
        // 48 bytes in base64.
        let line = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB\n";
        fs::write(directory.path().join("keys"), line.repeat(3)).expect("failed to write keys");
        Self(directory)
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("failed to write a configuration");
        path
    }
}

#[test]
fn servers_accept_the_settings() {
    let scratch = Scratch::new();
    let certificate = rsa();
    let (cert, key) = (certificate.cert.display(), certificate.key.display());
    let text = doc("operating.md");
    for block in blocks(&text, "haproxy") {
        let both = certificate.both.display().to_string();
        let config = block
            .replace("CERTIFICATE", &both)
            .replace("TICKET_KEYS", &scratch.at("keys"));
        let config = format!("{config}    http-request return status 200\n");
        let path = scratch.write("haproxy.cfg", &config);
        let output = Command::new("haproxy")
            .arg("-c")
            .arg("-f")
            .arg(path)
            .output();
        passed(&config, &output.expect("failed to start haproxy"));
    }
    for block in blocks(&text, "nginx") {
        let block = block.replace("TICKET_KEY", &scratch.at("key80"));
        let at = |name: &str| scratch.at(name);
        let config = format!(
            "pid {};\nevents {{}}\nhttp {{\naccess_log off;\n{block}\nserver {{ listen 127.0.0.1:8443 ssl; ssl_certificate {cert}; ssl_certificate_key {key}; }}\n}}\n",
            at("pid")
        );
        let path = scratch.write("nginx.conf", &config);
        let output = Command::new("nginx")
            .args(["-t", "-e", &at("log"), "-c"])
            .arg(path)
            .output();
        passed(&config, &output.expect("failed to start nginx"));
    }
    for block in blocks(&text, "apache") {
        let block = block.replace("/tmp/", &scratch.at(""));
        let block = block.replace("TICKET_KEY", &scratch.at("key48"));
        let modules: String = ["mpm_event", "authz_core", "socache_shmcb", "ssl"]
            .map(|name| {
                format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
            })
            .concat();
        let config = format!(
            "{modules}ServerName localhost\nListen 127.0.0.1:8443\nPidFile {}\nErrorLog {}\nSSLEngine on\nSSLCertificateFile {cert}\nSSLCertificateKeyFile {key}\n{block}",
            scratch.at("pid"),
            scratch.at("log")
        );
        let path = scratch.write("apache.conf", &config);
        let output = Command::new("apache2")
            .arg("-t")
            .arg("-f")
            .arg(path)
            .output();
        passed(&config, &output.expect("failed to start apache2"));
    }
}

#[test]
fn prometheus_accepts_the_settings() {
    let scratch = Scratch::new();
    for block in blocks(&doc("fleet.md"), "yaml") {
        let path = scratch.write("prometheus.yml", &block);
        let output = Command::new("promtool")
            .args(["check", "config"])
            .arg(path)
            .output();
        passed(&block, &output.expect("failed to start promtool"));
    }
}

#[test]
fn requests_are_answered() {
    let server = Server::python(Sessions::Tickets);
    let agent = Agent::start(NO_ARGUMENTS);
    warm_up(&agent, &server);
    let _ = Client::new(server.port).run();
    poll_until("the peer is known", DEADLINE, || {
        let answer = agent.get("/api/v1/peers/127.0.0.1")?;
        (answer.status == 200).then_some(()).ok_or(answer.body)
    });
    let pages = [vec![doc("operating.md")], runbooks()].concat();
    let mut requests = 0;
    for page in pages {
        let commands = page.split('`').flat_map(str::lines);
        for command in commands.filter_map(|line| line.trim().strip_prefix("$ ").or(Some(line))) {
            if !command.starts_with("curl -s ") {
                continue;
            }
            let command = command
                .replace("curl -s", "curl -sf")
                .replace("127.0.0.1:9797", &agent.address.to_string())
                .replace("peers/PEER", "peers/127.0.0.1")
                .replace("peers/192.0.2.7", "peers/127.0.0.1");
            let output = shell(&command);
            passed(&command, &output);
            assert!(!output.stdout.is_empty(), "{command}: no answer");
            requests += 1;
        }
    }
    assert!(requests > 10, "{requests}");
    agent.assert_healthy();
}

#[test]
fn s_client_shows_resumption_and_certificates() {
    let directory = TempDir::new().expect("failed to create a directory");
    for sessions in [Sessions::Ids, Sessions::OldTickets, Sessions::Tickets] {
        let server = Server::nginx(sessions);
        let run = |command: &str| {
            let command = command
                .replace("HOST:PORT", &format!("127.0.0.1:{}", server.port))
                .replace("NAME", "localhost")
                .replace("/tmp/", &format!("{}/", directory.path().display()));
            let output = shell(&command);
            passed(&command, &output);
            String::from_utf8(output.stdout).expect("output in UTF-8")
        };
        for page in ["operating.md", "runbooks/RepriseClientsOfferNothing.md"] {
            let commands = console(&doc(page));
            let commands = commands.iter().filter(|line| line.contains("s_client"));
            let outputs: Vec<_> = commands.map(|command| run(command)).collect();
            assert_eq!(outputs.len(), 2, "{page}");
            assert!(outputs[1].starts_with("Reused, "), "{page}: {outputs:?}");
        }
        for command in console(&doc("runbooks/RepriseCertificateErrors.md")) {
            let output = run(&command);
            assert!(
                output.contains("notAfter=") && output.contains("issuer="),
                "{command}: {output}"
            );
        }
        // `-reconnect` closes each connection before a ticket of TLS 1.3 can arrive.
        let reconnect = "openssl s_client -connect HOST:PORT -reconnect </dev/null 2>/dev/null";
        let resumes = run(reconnect).contains("Reused, ");
        assert_eq!(resumes, sessions != Sessions::Tickets, "{sessions:?}");
    }
}
