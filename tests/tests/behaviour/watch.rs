//! `reprise watch`: a live table in a terminal, and plain lines otherwise.

use nix::sys::signal::Signal;
use reprise_tests::agent::{ignore_toolchain, scope};
use reprise_tests::browser::{Browser, save_screenshot};
use reprise_tests::client::{SOURCES, misbehave};
use reprise_tests::fleet::Fleet;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::process::Process;
use reprise_tests::servers::{Sessions, Tuning};
use reprise_tests::terminal::Terminal;
use reprise_tests::{Client, Server, user};

#[test]
fn plain_lines_name_every_peer() {
    let server = Server::haproxy(Sessions::Tickets);
    let mut watch = Process::spawn(
        user::agent()
            .arg("watch")
            .args(ignore_toolchain())
            .args(scope()),
    );
    poll_until("every peer is shown", DEADLINE, || {
        assert!(
            watch.exit_status().is_none(),
            "watch ended: {}",
            watch.stderr()
        );
        let report = Client::new(server.port).connections(12).run();
        assert_eq!(report.total(|row| row.full + row.resumed), 12, "{report:?}");
        let text = watch.stdout();
        let service = server.peer();
        let absent: Vec<_> = SOURCES
            .iter()
            .copied()
            .chain([service.as_str()])
            .filter(|peer| !text.contains(*peer))
            .collect();
        if absent.is_empty() {
            Ok(())
        } else {
            Err(format!("{absent:?} absent from {text}"))
        }
    });
    let text = watch.stdout();
    assert!(
        !text.contains('\u{1b}'),
        "escape sequences where nobody can see them: {text:?}"
    );
    watch.signal(Signal::SIGTERM);
    let (status, took) = watch.wait(DEADLINE);
    assert_eq!(status.code(), Some(0), "stderr: {}", watch.stderr());
    assert!(took.as_secs_f64() < 2.0, "{took:?}");
}

/// Returns the lines of the clients, in order.
fn clients(screen: &str) -> Vec<&str> {
    let first = |line: &str| SOURCES.contains(&line.split_whitespace().next().unwrap_or_default());
    screen.lines().filter(|line| first(line)).collect()
}

/// Saves a picture of the screen if the environment variable is set. The pictures in the README are
/// created this way.
fn picture(watch: &Terminal) {
    const SCREENSHOT_ENV: &str = "REPRISE_TERMINAL_PICTURE";
    if std::env::var_os(SCREENSHOT_ENV).is_none() {
        return;
    }
    let file = tempfile::NamedTempFile::with_suffix(".html").expect("failed to create a file");
    std::fs::write(file.path(), watch.page()).expect("failed to write a page");
    let browser = Browser::start();
    browser.size(706, 464, false);
    browser.open(&format!("file://{}", file.path().display()));
    browser.wait(
        "document.querySelector('pre') !== null",
        "document.body.innerText",
    );
    save_screenshot(&browser, SCREENSHOT_ENV);
}

#[test]
fn keys_in_a_terminal() {
    let server = Server::haproxy(Sessions::Ids);
    let mut watch = Terminal::start(
        user::agent()
            .arg("watch")
            .args(ignore_toolchain())
            .args(scope()),
        80,
        24,
    );
    watch.wait("the picture is there", |screen| screen.contains("q quit"));
    assert!(watch.alternate());
    poll_until("every client is shown", DEADLINE, || {
        let _ = Client::new(server.port).connections(12).run();
        let screen = watch.text();
        if clients(&screen).len() == SOURCES.len() {
            Ok(())
        } else {
            Err(screen)
        }
    });
    misbehave("reset-half-hello", server.port, 1);
    watch.wait("a failure with its cause", |screen| {
        screen.contains(" 1 reset")
    });
    // Clients with the same address, and a cache that is too small for them.
    let tuning = Tuning {
        cache: 20,
        ..Tuning::default()
    };
    let small = Server::haproxy_tuned(Sessions::Ids, &tuning);
    let mut fleet = Fleet::start(40);
    fleet.connect(small.port, "");
    fleet.miss(small.port, "");
    watch.wait("misses with their reason", |screen| {
        screen.contains(" 0 evicted")
    });
    picture(&watch);
    // A line fits into 80 columns, and every column is below its heading.
    let screen = watch.text();
    let head = screen
        .lines()
        .find(|line| line.contains("PEER"))
        .expect("no head");
    let line = clients(&screen)[0];
    for (name, value) in [("FULL", 2), ("RESUMED", 3), ("RECENT", 4)] {
        let end = head.find(name).expect("no column") + name.len();
        let value = line.split_whitespace().nth(value).expect("no value");
        assert!(
            line[..end].ends_with(value),
            "{name} {value}:\n{head}\n{line}"
        );
    }
    // Servers only, sorted by name, then in reverse.
    watch.press("tsssss");
    watch.wait("sorted by peer", |screen| {
        clients(screen)
            .iter()
            .map(|line| line.split_whitespace().next().unwrap_or_default())
            .eq(SOURCES.iter().copied())
            && screen.contains("server only")
            && screen.contains("by peer")
    });
    watch.press("r");
    watch.wait("reversed", |screen| {
        clients(screen)
            .first()
            .is_some_and(|line| line.starts_with(SOURCES[5]))
    });
    watch.press("/reset\r");
    watch.wait("filtered by what is wrong", |screen| {
        clients(screen).len() == 1 && screen.contains("filter: reset")
    });
    watch.press("\r");
    watch.wait("one peer in detail", |screen| {
        screen.contains("server here") && screen.contains("reset") && screen.contains("Esc back")
    });
    watch.press("q");
    assert_eq!(watch.wait_exit(DEADLINE).code(), Some(0));
    // The terminal is restored and shows the last picture; no log line was written over it.
    assert!(!watch.alternate());
    watch.wait("the last picture stays", |screen| screen.contains("PEER"));
    assert!(!watch.written().contains("INFO"), "{}", watch.written());
}
