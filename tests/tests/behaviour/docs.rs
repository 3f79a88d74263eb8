//! Commands and configuration files in the documentation: each is run, or read by the program that
//! it is for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reprise_tests::Agent;
use reprise_tests::binary::binary;
use reprise_tests::certificates::rsa;
use reprise_tests::user;
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];

fn doc(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    fs::read_to_string(path).expect("failed to read a doc")
}

/// Returns the fenced code blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
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
