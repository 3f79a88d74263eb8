//! Sessions past their lifetime that are offered to another service than the one that issued them.

use super::host::{Host, LIFETIME, Offered, SECOND};
use crate::model::MissReason;

/// Two services, of which each has issued a session.
fn two_services(lifetime_ns: Option<u64>) -> Host {
    let mut host = Host::new();
    host.session.age.lifetime_ns = lifetime_ns;
    host.full(443, Offered::Id(1));
    host.session.age.lifetime_ns = Some(LIFETIME);
    host.full(8443, Offered::Id(2));
    host
}

#[test]
fn a_session_of_another_service_is_expired_after_the_lifetime_of_its_issuer() {
    for (age_ns, reason) in [
        (LIFETIME + 10 * SECOND, MissReason::Expired),
        (LIFETIME - 10 * SECOND, MissReason::ForeignId),
    ] {
        let mut host = two_services(Some(LIFETIME));
        host.wait(age_ns);
        assert_eq!(host.reason(8443, Offered::Id(1)), reason, "{age_ns}");
    }
}

#[test]
fn the_lifetime_of_the_missing_service_says_nothing_about_another_service() {
    let mut host = two_services(None);
    host.wait(LIFETIME + 10 * SECOND);
    assert_eq!(host.reason(8443, Offered::Id(1)), MissReason::ForeignId);
}
