//! From keys to rows and to screens, without a terminal.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    detail,
    row::Row,
    services,
    state::{Column, Request, State},
    view,
};
use crate::{observed::Observed, status::Status, testing::small_pipeline};
use reprise_core::model::{
    Connection, FailureCause, LibraryFacts, Mechanism, Miss, MissReason, NetworkEvidence,
    Observation, Offer, Outcome, Resumption, Role, Source, Version,
};
use reprise_core::pipeline::{peers::Naming, stats::SessionsLost};

fn observed() -> Observed {
    let naming = Naming::default();
    let mut pipeline = small_pipeline(naming.clone());
    let mut see = |client: &str, end| {
        let seen = Observation {
            time_ns: 0,
            role: Role::Server,
            version: Version::V13,
            outcome: end,
            duration_ns: 1,
            connection: Some(Connection {
                local: "127.0.0.1:443".parse().unwrap(),
                remote: client.parse().unwrap(),
                namespace: reprise_core::model::NetworkNamespace::Unknown,
            }),
            network: NetworkEvidence::default(),
            source: Source::Library(LibraryFacts {
                library_ns: 1,
                ..LibraryFacts::default()
            }),
            tgid: Some(1),
            cgroup: None,
            offer: Offer::Session(Mechanism::Psk),
            miss: (end == Outcome::Completed(Resumption::Full)).then_some(Miss {
                evidence: reprise_core::model::Evidence {
                    rule: "beyond_accepted_rank",
                    rank: Some(41),
                    ..reprise_core::model::Evidence::default()
                },
                reason: MissReason::Evicted,
                age_ns: None,
                lifetime_ns: None,
                service: None,
                lossy: false,
            }),
            hello: None,
            conflict: false,
            alert: None,
        };
        pipeline.stats.record(&seen, &naming);
    };
    for _ in 0..3 {
        see("192.0.2.1:1", Outcome::Completed(Resumption::Full));
    }
    see("192.0.2.1:1", Outcome::Completed(Resumption::Resumed));
    see("192.0.2.2:1", Outcome::Completed(Resumption::Resumed));
    see("192.0.2.3:1", Outcome::Failed(FailureCause::PacketLoss));
    let changes = pipeline.stats.peers.update_alerts(0);
    assert_eq!(changes.len(), 1);
    Observed {
        pipeline,
        status: Status::default(),
    }
}

fn names(state: &State, observed: &Observed) -> Vec<String> {
    let rows = state.rows(observed);
    rows.into_iter()
        .map(|row| row.name.replace("192.0.2.", ""))
        .collect()
}

fn press(state: &mut State, observed: &Observed, keys: &str) -> Request {
    let mut request = Request::Redraw;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '↓' => KeyCode::Down,
            other => KeyCode::Char(other),
        };
        let rows = state.rows(observed);
        request = state.press(KeyEvent::new(code, KeyModifiers::NONE), &rows);
    }
    request
}

fn screen(state: &mut State, observed: &Observed, columns: u16) -> String {
    let rows = state.rows(observed);
    screen_with(state, observed, columns, &rows)
}

fn screen_with(state: &mut State, observed: &Observed, columns: u16, rows: &[Row]) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, 24)).unwrap();
    let header = view::header(observed);
    let recent = detail::recent(observed, state.detail.as_ref());
    let services = services::lines(observed, &state.filter);
    terminal
        .draw(|frame| view::draw(frame, state, &header, rows, &services, &recent))
        .unwrap();
    terminal.backend().to_string()
}

#[test]
fn keys_sort_and_filter() {
    let observed = observed();
    let mut state = State::default();
    assert_eq!(names(&state, &observed), ["1", "2", "3"]);
    press(&mut state, &observed, "ss");
    assert_eq!(state.sort, Column::Resumed);
    press(&mut state, &observed, "s");
    // The lowest share first; a peer without a recent handshake is last in either direction.
    assert_eq!(names(&state, &observed), ["1", "2", "3"]);
    press(&mut state, &observed, "r");
    assert_eq!(names(&state, &observed), ["2", "1", "3"]);
    press(&mut state, &observed, "s");
    assert_eq!(names(&state, &observed), ["3", "1", "2"]);
    press(&mut state, &observed, "/LOSS");
    assert_eq!(names(&state, &observed), ["3"]);
    press(&mut state, &observed, "\u{1b}/0.2.9\n");
    assert!(names(&state, &observed).is_empty(), "{}", state.filter);
    press(&mut state, &observed, "\u{1b}t");
    assert_eq!(names(&state, &observed).len(), 3);
    press(&mut state, &observed, "t");
    assert!(names(&state, &observed).is_empty());
    assert_eq!(press(&mut state, &observed, "q"), Request::Quit);
}

#[test]
fn eighty_columns_are_enough() {
    let observed = observed();
    let mut state = State::default();
    let text = screen(&mut state, &observed, 80);
    for wanted in [
        "PEER",
        "ROLE",
        "FULL",
        "RESUMED",
        "RECENT",
        "FAILED",
        "PROBLEM",
        "192.0.2.1",
        "25%",
        "packet_loss",
        "q quit",
        "3 peers",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    press(&mut state, &observed, "\n");
    let text = screen(&mut state, &observed, 80);
    for wanted in [
        "192.0.2.1 (server here)",
        "psk",
        "1 accepted, 3 missed",
        "evicted",
        "the server's cache is too small",
        "0 s ago, psk: half as many sessions again were issued since",
        "rule beyond_accepted_rank",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    press(&mut state, &observed, "\u{1b}↓↓↓↓\n");
    let text = screen(&mut state, &observed, 80);
    assert!(
        text.contains("192.0.2.3 (server here)")
            && text.contains("0 s ago: packet_loss")
            && text.contains("Esc back"),
        "{text}"
    );
    // A terminal that is much too small is not an error.
    for columns in [1, 10, 40] {
        screen(&mut state, &observed, columns);
    }
}

#[test]
fn services_have_a_table_of_their_own() {
    let observed = observed();
    let mut state = State::default();
    press(&mut state, &observed, "v");
    let text = screen(&mut state, &observed, 80);
    for wanted in [
        "SERVICE",
        "ACCEPTED",
        "unknown:443",
        "1 services",
        "v peers",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    // Enter shows no peer's details.
    press(&mut state, &observed, "\n");
    assert_eq!(state.detail, None);
    press(&mut state, &observed, "/nothing\n");
    let text = screen(&mut state, &observed, 80);
    assert!(!text.contains("unknown:443"), "{text}");
    press(&mut state, &observed, "v");
    assert!(!state.services);
}

#[test]
fn details_show_the_sessions_lost_with_packets() {
    let observed = observed();
    let mut state = State::default();
    let mut rows = state.rows(&observed);
    press(&mut state, &observed, "\n");
    let text = screen_with(&mut state, &observed, 80, &rows);
    assert!(!text.contains("with packet loss"), "{text}");
    rows[0].sums.with_loss = 7;
    let text = screen_with(&mut state, &observed, 80, &rows);
    assert!(text.contains("with packet loss       7"), "{text}");
    assert!(!text.contains("sessions lost"), "{text}");
    rows[0].sums.sessions_lost = SessionsLost {
        never_stored: 1,
        forgotten: 5,
        missed: 4,
    };
    let text = screen_with(&mut state, &observed, 80, &rows);
    let line = "  sessions lost by it  5 removed, 1 never stored; 4 offered again and missed";
    assert!(text.contains(line), "{text}");
}
