//! The end of a process that drove handshakes is an event of its own.

use std::{fs, path::Path, process::Command};

use nix::sys::signal::Signal;
use reprise_ebpf::{
    Header,
    handshake::{EXIT, ExitEvent, HANDSHAKE, HandshakeEvent},
};
use reprise_tests::poll::{PATIENCE, poll_until};
use reprise_tests::process::Process;
use reprise_tests::servers::Sessions;
use reprise_tests::{Client, Server, user};
use zerocopy::FromBytes as _;

/// Payloads of the events in a recording: after a line of magic, frames of length, tag and payload.
fn events(recording: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(recording).unwrap_or_default();
    let start = bytes.iter().position(|&byte| byte == b'\n');
    let mut rest = start.map_or(&[][..], |at| &bytes[at + 1..]);
    let mut events = Vec::new();
    while let Some((length, frame)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let (Some(tag), Some(payload)) = (frame.first(), frame.get(1..=length)) else {
            break;
        };
        if *tag == b'E' {
            events.push(payload.to_vec());
        }
        rest = &frame[1 + length..];
    }
    events
}

/// Processes that completed handshakes, and those that ended, in order.
fn processes(recording: &Path) -> (Vec<u32>, Vec<u32>) {
    let (mut drove, mut ended) = (Vec::new(), Vec::new());
    for event in events(recording) {
        match Header::read_from_prefix(&event).map(|(header, _)| header.kind) {
            Ok(HANDSHAKE) => {
                let (event, _) = HandshakeEvent::read_from_prefix(&event).expect("an event");
                drove.push(event.tgid);
            }
            Ok(EXIT) => {
                let (event, _) = ExitEvent::read_from_prefix(&event).expect("an event");
                ended.push(event.tgid);
            }
            _ => {}
        }
    }
    (drove, ended)
}

#[test]
fn the_end_of_a_process_that_drove_handshakes_is_recorded_once() {
    let directory = user::directory();
    let path = directory.path().join("events");
    let server = Server::haproxy(Sessions::Ids);
    let mut recorder = Process::spawn(user::agent().args(["record", "--output"]).arg(&path));
    poll_until("a handshake is recorded", PATIENCE, || {
        assert!(recorder.ended().is_none(), "{}", recorder.stderr());
        let _ = Client::new(server.port).once_from("127.0.0.97").run();
        match processes(&path).0.len() {
            0 => Err(recorder.stderr()),
            _ => Ok(()),
        }
    });
    let mut client = Client::new(server.port).connections(4).spawn();
    let pid = client.pid();
    let (status, _) = client.wait(PATIENCE);
    assert!(status.success(), "stderr: {}", client.stderr());
    assert!(Command::new("true").status().expect("runs").success());
    poll_until("the end is recorded", PATIENCE, || {
        let (_, ended) = processes(&path);
        ended
            .contains(&pid)
            .then_some(())
            .ok_or(format!("{pid} {ended:?}"))
    });
    drop(server);
    recorder.signal(Signal::SIGTERM);
    let (status, _) = recorder.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "stderr: {}", recorder.stderr());
    let (drove, ended) = processes(&path);
    assert_eq!(
        ended.iter().filter(|&&tgid| tgid == pid).count(),
        1,
        "{ended:?}"
    );
    let unknown: Vec<_> = ended.iter().filter(|tgid| !drove.contains(tgid)).collect();
    assert!(unknown.is_empty(), "{unknown:?} drove no handshake");
}
