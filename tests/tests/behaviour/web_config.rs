//! `--web-config`: authentication of HTTP clients, tested with curl.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use reprise_tests::agent::{command, scope};
use reprise_tests::certificates;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::ports::free_port;
use reprise_tests::process::{Process, run};
use reprise_tests::{Agent, user};
use tempfile::TempDir;

/// Creates a directory with an authority, a server certificate for 127.0.0.1, and two client
/// certificates.
fn authority() -> TempDir {
    let certificates = [
        ("server", "server", "IP:127.0.0.1"),
        ("client", "client", "DNS:scraper"),
        ("other", "other", "DNS:stranger"),
    ];
    certificates::authority("ca", &certificates)
}

fn write(directory: &TempDir, text: &str) -> String {
    let path = directory.path().join("web.yml");
    fs::write(&path, text).expect("failed to write the configuration");
    path.display().to_string()
}

/// An agent whose readiness is read from its log, since it does not answer every client.
struct Guarded {
    process: Process,
    port: u16,
}

impl Guarded {
    fn start(config: &str) -> Self {
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let mut process = Process::spawn(
            user::agent()
                .args(["run", "--listen", &listen, "--web-config", config])
                .args(scope()),
        );
        process.wait_listening(port);
        // The kernel accepts connections long before the agent answers.
        poll_until("the agent serves", DEADLINE, || {
            let log = process.stderr();
            if log.contains("serving metrics") {
                Ok(())
            } else {
                Err(log)
            }
        });
        Self { process, port }
    }

    fn curl(&self, scheme: &str, directory: &Path, words: &[&str]) -> Output {
        Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--include",
                "--max-time",
                "5",
                "--cacert",
                "ca.crt",
            ])
            .args(words)
            .arg(format!("{scheme}://127.0.0.1:{}/healthz", self.port))
            .current_dir(directory)
            .output()
            .expect("failed to start curl")
    }
}

/// Returns the status code; `None` without a response.
fn status(output: &Output) -> Option<u16> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.split(' ').nth(1)?.parse().ok()
}

#[test]
fn passwords() {
    let directory = TempDir::new().expect("failed to create a directory");
    let hash = hash();
    let config = write(
        &directory,
        &format!(
            "basic_auth_users:\n  prometheus: {hash}\nhttp_server_config:\n  headers:\n    X-Frame-Options: deny\n"
        ),
    );
    let agent = Guarded::start(&config);
    let ask = |words: &[&str]| agent.curl("http", Path::new("/"), words);
    let refused = ask(&[]);
    assert_eq!(status(&refused), Some(401));
    let text = String::from_utf8_lossy(&refused.stdout).to_lowercase();
    assert!(
        text.contains("www-authenticate: basic") && text.contains("x-frame-options: deny"),
        "{text}"
    );
    assert_eq!(status(&ask(&["--user", "prometheus:wrong"])), Some(401));
    assert_eq!(status(&ask(&["--user", "nobody:secret"])), Some(401));
    for _ in 0..2 {
        assert_eq!(status(&ask(&["--user", "prometheus:secret"])), Some(200));
    }
    // The agent loads a new user while it runs, and ignores a malformed file.
    write(
        &directory,
        &format!("basic_auth_users:\n  grafana: {hash}\n"),
    );
    poll_until("the new user is accepted", DEADLINE, || {
        match status(&ask(&["--user", "grafana:secret"])) {
            Some(200) => Ok(()),
            other => Err(format!("{other:?}: {}", agent.process.stderr())),
        }
    });
    assert_eq!(status(&ask(&["--user", "prometheus:secret"])), Some(401));
    write(&directory, "basic_auth_users:\n  grafana: secret\n");
    poll_until("the file is rejected", DEADLINE, || {
        assert_eq!(status(&ask(&["--user", "grafana:secret"])), Some(200));
        let log = agent.process.stderr();
        if log.contains("line 2: grafana: no bcrypt hash") {
            Ok(())
        } else {
            Err(log)
        }
    });
}

#[test]
fn guessing_passwords_costs_little_and_ends() {
    let directory = TempDir::new().expect("failed to create a directory");
    let hash = hash_with_cost("12");
    let config = write(&directory, &format!("basic_auth_users:\n  prom: {hash}\n"));
    let agent = Guarded::start(&config);
    let ask = |user: &str| agent.curl("http", Path::new("/"), &["--user", user]);
    assert_eq!(status(&ask("prom:secret")), Some(200));
    let before = cpu_seconds(agent.process.pid());
    let start = Instant::now();
    let mut statuses = BTreeMap::new();
    thread::scope(|scope| {
        let guess = |client: u32| {
            let mut statuses = Vec::new();
            for number in 0.. {
                if start.elapsed() > Duration::from_secs(6) {
                    break;
                }
                // All loopback addresses are one client.
                let source = format!("127.0.2.{}", client + 1);
                let user = format!("prom:guess-{client}-{number}");
                let words = ["--user", &user, "--interface", &source];
                statuses.push(status(&agent.curl("http", Path::new("/"), &words)));
                thread::sleep(Duration::from_millis(20));
            }
            statuses
        };
        let clients = [0, 1, 2, 3].map(|client| scope.spawn(move || guess(client)));
        for client in clients {
            for status in client.join().expect("a client panicked") {
                *statuses.entry(status).or_insert(0) += 1;
            }
        }
    });
    let used = cpu_seconds(agent.process.pid()) - before;
    let share = used / start.elapsed().as_secs_f64();
    let count = |status| statuses.get(&Some(status)).copied().unwrap_or(0);
    assert!(count(401) >= 5 && count(401) <= 10, "{statuses:?}");
    assert!(count(429) > 20, "{statuses:?}");
    assert_eq!(count(200), 0, "{statuses:?}");
    // A debug build of bcrypt takes ten times as long as a release build.
    assert!(share < 0.8, "{share} of a core for {statuses:?}");
    let waiting = ask("prom:wrong");
    let text = String::from_utf8_lossy(&waiting.stdout).to_lowercase();
    assert!(text.contains("retry-after: "), "{text}");
    assert_eq!(status(&ask("prom:secret")), Some(200), "a known password");
}

/// CPU time of a process so far, seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the agent runs");
    // utime and stime, proc(5); the name may contain spaces.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u64 = ticks
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum();
    ticks as f64 / 100.0
}

/// Returns the hash of `secret` by another program.
fn hash() -> String {
    hash_with_cost("5")
}

fn hash_with_cost(cost: &str) -> String {
    let mut htpasswd = Command::new("htpasswd");
    let line = run(htpasswd.args(["-bnBC", cost, "user", "secret"]));
    line.trim().trim_start_matches("user:").to_owned()
}

#[test]
fn certificates() {
    let directory = authority();
    let at = directory.path();
    let tls = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  min_version: TLS12\n";
    let agent = Guarded::start(&write(&directory, tls));
    assert_eq!(status(&agent.curl("https", at, &[])), Some(200));
    assert_eq!(
        status(&agent.curl("https", at, &["--tls-max", "1.2"])),
        Some(200)
    );
    assert_eq!(status(&agent.curl("http", at, &[])), None);
    // Clients that never start a handshake block no other client.
    let connect = |_| TcpStream::connect(("127.0.0.1", agent.port)).expect("failed to connect");
    let silent: Vec<_> = (0..100).map(connect).collect();
    assert_eq!(status(&agent.curl("https", at, &[])), Some(200));
    drop(silent);
    // From now on clients need a certificate of this authority with this name.
    let client = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [scraper]\n";
    write(&directory, &format!("{tls}{client}"));
    poll_until("nobody is let in without", DEADLINE, || {
        match status(&agent.curl("https", at, &[])) {
            None => Ok(()),
            other => Err(format!("{other:?}: {}", agent.process.stderr())),
        }
    });
    let with = |name: &str| {
        let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
        status(&agent.curl("https", at, &["--cert", &cert, "--key", &key]))
    };
    assert_eq!(with("client"), Some(200));
    assert_eq!(with("other"), None);
    // A renewed certificate is used without a restart.
    let before = serial(agent.port);
    let mut openssl = Command::new("openssl");
    let words = "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out server.crt";
    run(openssl.args(words.split(' ')).current_dir(at));
    poll_until("the new certificate is shown", DEADLINE, || {
        let now = serial(agent.port);
        if now == before { Err(now) } else { Ok(()) }
    });
}

/// Each kind of client authentication by its name in Go: without a certificate, with one of the
/// authority, and with an unknown one.
#[test]
fn kinds_of_client_authentication() {
    let directory = authority();
    let at = directory.path();
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout alien.key -out alien.crt -days 2 -subj /CN=alien";
    run(Command::new("openssl")
        .args(words.split(' '))
        .current_dir(at));
    let config = |kind: &str, verifies: bool| {
        let ca = if verifies {
            "  client_ca_file: ca.crt\n"
        } else {
            ""
        };
        format!(
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_auth_type: {kind}\n{ca}http_server_config:\n  headers:\n    X-Frame-Options: {kind}\n"
        )
    };
    let agent = Guarded::start(&write(&directory, &config("NoClientCert", false)));
    let with = |name: &str| {
        let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
        agent.curl("https", at, &["--cert", &cert, "--key", &key])
    };
    let (yes, no) = (Some(200), None);
    for (kind, verifies, without, alien) in [
        ("NoClientCert", false, yes, yes),
        ("RequestClientCert", false, yes, yes),
        ("RequireAnyClientCert", false, no, yes),
        ("VerifyClientCertIfGiven", true, yes, no),
        ("RequireAndVerifyClientCert", true, no, no),
    ] {
        write(&directory, &config(kind, verifies));
        poll_until("the file is loaded", DEADLINE, || {
            let answer = with("client");
            let text = String::from_utf8_lossy(&answer.stdout).into_owned();
            match text.contains(kind) {
                true => Ok(()),
                false => Err(format!("{kind}: {text}{}", agent.process.stderr())),
            }
        });
        let got = (
            status(&agent.curl("https", at, &[])),
            status(&with("client")),
            status(&with("alien")),
        );
        assert_eq!(got, (without, yes, alien), "{kind}");
    }
}

/// Returns the serial number of the server's certificate.
fn serial(port: u16) -> String {
    let script = format!(
        "openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    );
    run(Command::new("sh").args(["-c", &script]))
}

#[test]
fn a_malformed_file_is_rejected_with_the_line() {
    let directory = authority();
    let pair = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";
    for (text, line, about) in [
        (
            "basic_auth_users:\n  a: [b]\n".to_owned(),
            2,
            "expected string",
        ),
        ("basic_auth_users:\n  a: b\n b: c\n".to_owned(), 3, ""),
        (
            "basic_auth_users:\n  prometheus: secret\n".to_owned(),
            2,
            "prometheus: no bcrypt hash",
        ),
        (
            "basic_auth_users: {}\n\nbasic_auth_user: {}\n".to_owned(),
            3,
            "basic_auth_user",
        ),
        (
            "tls_server_config:\n  cert_file: absent.crt\n  key_file: server.key\n".to_owned(),
            2,
            "cert_file",
        ),
        (
            "tls_server_config:\n  key_file: server.key\n".to_owned(),
            1,
            "cert_file is missing",
        ),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key_file: client.key\n".to_owned(),
            3,
            "key_file",
        ),
        (
            "tls_server_config:\n  cert_file: server.key\n  key_file: server.key\n".to_owned(),
            2,
            "no certificate",
        ),
        (format!("{pair}  min_version: TLS10\n"), 4, "min_version"),
        (format!("{pair}  client_auth_type: Perhaps\n"), 4, "Perhaps"),
        (
            format!("{pair}  client_ca_file: ca.crt\n"),
            4,
            "client_auth_type",
        ),
        (
            format!("{pair}  client_auth_type: RequireAndVerifyClientCert\n"),
            1,
            "client_ca_file is missing",
        ),
        (
            format!("{pair}  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n"),
            4,
            "TLS_RSA_WITH_RC4_128_SHA",
        ),
        (
            format!("{pair}  curve_preferences: [CurveP521]\n"),
            4,
            "CurveP521",
        ),
        (
            "http_server_config:\n  headers:\n    Server: me\n".to_owned(),
            3,
            "Server",
        ),
    ] {
        let config = write(&directory, &text);
        let output = command(["run", "--web-config", &config]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(
            stderr.contains("--web-config")
                && stderr.contains(&format!("line {line}"))
                && stderr.contains(about),
            "{text}: {stderr}"
        );
    }
}

#[test]
fn an_empty_file_requires_nothing() {
    let directory = TempDir::new().expect("failed to create a directory");
    let config = write(&directory, "# nothing\n");
    let agent = Agent::start(["--web-config", &config]);
    agent.assert_healthy();
}
