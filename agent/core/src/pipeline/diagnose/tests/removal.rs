//! Tests of removed sessions.

use super::{
    super::*,
    host::{Host, Offered},
};
use crate::model::{MissReason, Removal, RemovalContext};

#[test]
fn a_removed_session_is_reported_once_and_named() {
    let mut host = Host::new();
    host.full(443, Offered::Id(1));
    let freed = RemovalContext::Freeing;
    assert_eq!(host.remove(444, 1, freed), None, "a client removes it");
    assert_eq!(
        host.remove(443, 1, freed),
        Some(Removal::Unknown),
        "no shutdown bits"
    );
    assert_eq!(host.remove(443, 1, freed), None, "twice");
    assert_eq!(host.remove(443, 2, freed), None, "not issued here");
    assert_eq!(host.reason(443, Offered::Id(1)), MissReason::Removed);
    host.handshake(443, Offered::Id(1), true, Offered::Nothing);
    assert_eq!(host.reason(443, Offered::Id(1)), MissReason::Unknown);
}

#[test]
fn an_unclean_close_has_a_side() {
    let reset = CloseEvidence {
        reset_by_peer: true,
        loss: false,
    };
    let loss = CloseEvidence {
        reset_by_peer: false,
        loss: true,
    };
    let none = CloseEvidence::default();
    let eof = Some(294);
    for (context, peer_closed_cleanly, reason, close, expected) in [
        (
            RemovalContext::Freeing,
            Some(true),
            None,
            none,
            Removal::UncleanCloseByServer,
        ),
        (
            RemovalContext::Freeing,
            Some(true),
            None,
            loss,
            Removal::UncleanCloseByServer,
        ),
        (
            RemovalContext::Freeing,
            Some(false),
            None,
            none,
            Removal::UncleanCloseByServer,
        ),
        (
            RemovalContext::Freeing,
            Some(false),
            None,
            loss,
            Removal::UncleanCloseByPeer,
        ),
        (
            RemovalContext::Freeing,
            Some(false),
            None,
            reset,
            Removal::UncleanCloseByPeer,
        ),
        (RemovalContext::Freeing, None, None, none, Removal::Unknown),
        (
            RemovalContext::Other,
            Some(false),
            eof,
            none,
            Removal::UncleanCloseByPeer,
        ),
        (
            RemovalContext::Other,
            Some(false),
            None,
            none,
            Removal::Application,
        ),
        (RemovalContext::Other, None, None, none, Removal::Unknown),
        (
            RemovalContext::Other,
            Some(false),
            Some(1_040),
            none,
            Removal::Unknown,
        ),
    ] {
        let mut host = Host::new();
        host.close = close;
        host.peer_closed_cleanly = peer_closed_cleanly;
        host.reason = reason;
        host.full(443, Offered::Id(1));
        let case = format!("{context:?} {peer_closed_cleanly:?} {reason:?} {close:?}");
        assert_eq!(host.remove(443, 1, context), Some(expected), "{case}");
        let miss = host.handshake(443, Offered::Id(1), false, Offered::Nothing);
        let miss = miss.expect("a miss");
        assert_eq!(miss.evidence.removal, Some(expected));
        assert_eq!(miss.reason, MissReason::Removed);
        let freed = context == RemovalContext::Freeing;
        assert_eq!(miss.lossy, close.loss && freed, "{case}");
    }
}

#[test]
fn a_session_that_its_own_acceptance_used_up_is_not_removed_before_its_time() {
    let mut host = Host::new();
    host.full(443, Offered::Psk(1, 0));
    host.reason(443, Offered::Psk(9, 0));
    assert_eq!(host.remove(443, 1, RemovalContext::Handshake), None);
    host.handshake(443, Offered::Psk(1, 0), true, Offered::Psk(2, 0));
    assert_eq!(host.reason(443, Offered::Psk(1, 0)), MissReason::Unknown);
}

#[test]
fn stateful_tickets_are_cache_entries_and_others_are_not() {
    let mut host = Host::new();
    host.full(443, Offered::Psk(1, 0));
    host.full(443, Offered::Psk(2, 0));
    let freed = RemovalContext::Freeing;
    assert_eq!(
        host.remove(443, 1, freed),
        None,
        "its ticket may be self-contained"
    );
    assert_eq!(host.reason(443, Offered::Psk(2, 0)), MissReason::NotStored);
    assert_eq!(host.reason(443, Offered::Psk(1, 0)), MissReason::Removed);
    assert!(host.remove(443, 2, freed).is_some());
}
