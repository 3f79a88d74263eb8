//! Tests of the texts.

use super::*;
use crate::model::Evidence;
use crate::pipeline::clock::ClockEvent;
use zerocopy::FromZeros as _;

const SECOND: u64 = 1_000_000_000;

fn case(reason: MissReason) -> Case {
    Case {
        reason: AlertReason::Missed(reason),
        role: Role::Server,
        miss: Some(Miss {
            reason,
            evidence: Evidence::default(),
            age_ns: Some(900 * SECOND),
            lifetime_ns: Some(300 * SECOND),
            service: None,
            lossy: false,
        }),
        ticket_key: KeyName::new(0xdead_beef),
        offers: Outcomes {
            accepted: 1,
            missed: 41,
            failed: 0,
        },
        failed_offers: FailedOffers {
            failed: 8,
            completed: 1,
            failed_without: 0,
            completed_without: 16,
            ..FailedOffers::default()
        },
        failed_offers_of_server: false,
        returned_without: 38,
        given_before: Some(Given::Session),
        service: ServiceFacts {
            sessions: 50_000,
            lifetime_ns: Some(300 * SECOND),
            skew_ns: None,
            ..ServiceFacts::default()
        },
        clock: Clock::default(),
    }
}

#[test]
fn texts_contain_the_figures() {
    let evicted = text(&case(MissReason::Evicted));
    assert!(
        evicted.contains("lifetime of 300 s, 50000 sessions"),
        "{evicted}"
    );
    let expired = text(&case(MissReason::Expired));
    assert!(
        expired.contains("lifetime of 300 s; the last one was 900 s old"),
        "{expired}"
    );
    assert!(!expired.contains("clock"), "{expired}");
    let foreign = text(&case(MissReason::ForeignKey));
    assert!(foreign.contains("key deadbeef"), "{foreign}");
}

#[test]
fn expired_names_the_clocks() {
    let mut clock = Clock::default();
    let mut event = ClockEvent::new_zeroed();
    clock.record(&event);
    event.offset_ns = -60_000_000_000;
    clock.record(&event);
    let mut case = case(MissReason::Expired);
    case.clock = clock;
    case.service.skew_ns = Some(7_200_000_000_000);
    let expired = text(&case);
    for phrase in [
        "server's clock is 7200 s ahead of",
        "stepped back by 60 s",
        "not synchronised",
    ] {
        assert!(expired.contains(phrase), "{phrase}: {expired}");
    }
}

#[test]
fn a_step_of_the_servers_clock_is_named() {
    let mut case = case(MissReason::Clock);
    assert!(text(&case).contains("differs from the clock"));
    if let Some(miss) = &mut case.miss {
        miss.evidence.clock_step_ns = Some(-7_200_000_000_000);
    }
    assert!(text(&case).contains("stepped back by 7200 s after it issued"));
}

#[test]
fn every_reason_has_a_text() {
    for reason in MissReason::ALL {
        assert!(text(&case(reason)).len() > 20, "{reason:?}");
    }
    let never = Case {
        reason: AlertReason::NeverOffered,
        ..case(MissReason::Unknown)
    };
    assert!(text(&never).contains("never offer"));
    let none = Case {
        given_before: Some(Given::Nothing),
        ..never
    };
    assert!(text(&none).contains("the server gives none"));
    let seldom = Case {
        reason: AlertReason::SeldomOffered,
        ..case(MissReason::Unknown)
    };
    let text_of_seldom = text(&seldom);
    assert!(
        text_of_seldom.contains("38 of 80 connections offered none"),
        "{text_of_seldom}"
    );
    let failed = Case {
        reason: AlertReason::FailedOffers,
        ..case(MissReason::Unknown)
    };
    let text = text(&failed);
    assert!(
        text.contains("8 of 9 failed with an offer, and 0 of 16 without one"),
        "{text}"
    );
}

#[test]
fn removed_names_the_side_that_closed_uncleanly() {
    let mut case = case(MissReason::Removed);
    for (removal, phrase) in [
        (
            Removal::UncleanCloseByServer,
            "the server call SSL_shutdown",
        ),
        (Removal::UncleanCloseByPeer, "the client reset"),
        (Removal::Application, "SSL_CTX_remove_session"),
        (Removal::Unknown, "both sides"),
    ] {
        if let Some(miss) = &mut case.miss {
            miss.evidence.removal = Some(removal);
        }
        let removed = text(&case);
        assert!(removed.contains(phrase), "{phrase}: {removed}");
    }
}

#[test]
fn clients_learn_how_much_was_missed_and_where_to_look() {
    let client = Case {
        role: Role::Client,
        ..case(MissReason::Unknown)
    };
    let unknown = text(&client);
    assert!(unknown.contains("missed 41 of 42 sessions"), "{unknown}");
    assert!(unknown.contains("observe it there"), "{unknown}");
}

#[test]
fn a_key_per_connection_is_named() {
    let mut case = case(MissReason::OtherProcess);
    case.service.per_connection_keys = true;
    assert!(text(&case).contains("a new TLS context"));
}

#[test]
fn a_client_of_a_server_on_this_host_learns_its_reason() {
    let mut case = Case {
        role: Role::Client,
        ..case(MissReason::Unknown)
    };
    if let Some(miss) = &mut case.miss {
        miss.service = Some(crate::model::ServiceId(1));
    }
    assert!(text(&case).contains("the server is on this host"));
    case.reason = AlertReason::Missed(MissReason::NotStored);
    assert!(text(&case).contains("does not store"));
}
