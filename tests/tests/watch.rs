//! The live table where stdout is no terminal: plain lines that name the peers.

use std::process::Command;

use nix::sys::signal::Signal;
use reprise_tests::agent::binary;
use reprise_tests::client::SOURCES;
use reprise_tests::poll::{PATIENCE, poll_until};
use reprise_tests::process::Process;
use reprise_tests::servers::Sessions;
use reprise_tests::{Client, Server};

#[test]
fn lines_name_every_peer() {
    let server = Server::haproxy(Sessions::Tickets);
    let mut watch = Process::spawn(Command::new(binary()).arg("watch"));
    poll_until("every peer is shown", PATIENCE, || {
        assert!(watch.ended().is_none(), "watch ended: {}", watch.stderr());
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
    let (status, took) = watch.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "stderr: {}", watch.stderr());
    assert!(took.as_secs_f64() < 2.0, "{took:?}");
}
