//! Origin of an offered session, as far as the diagnosis of its miss shows it.

use super::rules;
use crate::model::{Miss, MissReason};

/// Origin of an offered session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOrigin {
    /// The service that missed it issued it.
    Service,
    /// Another service here issued it, or whether this one did is not known.
    Unclear,
    /// No service here is known to have issued it.
    NotIssued,
}

impl SessionOrigin {
    /// Origin of a missed session.
    #[must_use]
    pub fn of_missed(miss: &Miss) -> Self {
        match miss.reason {
            MissReason::NotStored
            | MissReason::OtherProcess
            | MissReason::Restarted
            | MissReason::Evicted
            | MissReason::Expired
            | MissReason::Removed
            | MissReason::Refused
            | MissReason::RetiredKey
            | MissReason::Clock => Self::Service,
            MissReason::ForeignId => Self::Unclear,
            MissReason::ForeignKey | MissReason::Unknown => {
                let evidence = &miss.evidence;
                let has_no_issuer = evidence.issued_by.is_none()
                    && evidence.key_used_by.is_none()
                    && evidence.age_ns.is_none();
                if has_no_issuer && rules::requires_no_issuer(evidence.rule) {
                    Self::NotIssued
                } else {
                    Self::Unclear
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Evidence;

    fn origin(reason: MissReason, evidence: Evidence) -> SessionOrigin {
        SessionOrigin::of_missed(&Miss {
            reason,
            evidence,
            age_ns: None,
            lifetime_ns: None,
            service: None,
            lossy: false,
        })
    }

    fn by(rule: &'static str) -> Evidence {
        Evidence {
            rule,
            ..Evidence::default()
        }
    }

    #[test]
    fn a_session_without_a_known_issuer_is_not_issued() {
        let unknown = MissReason::Unknown;
        for (reason, evidence, expected) in [
            (
                MissReason::Evicted,
                by("beyond_accepted_rank"),
                SessionOrigin::Service,
            ),
            (
                MissReason::ForeignId,
                by("id_of_other_service"),
                SessionOrigin::Unclear,
            ),
            (
                MissReason::ForeignKey,
                by("key_of_other_service"),
                SessionOrigin::Unclear,
            ),
            (
                MissReason::ForeignKey,
                by("key_never_used"),
                SessionOrigin::NotIssued,
            ),
            (unknown, by("not_enough_evidence"), SessionOrigin::NotIssued),
            (
                unknown,
                by("ticket_without_key_name"),
                SessionOrigin::Unclear,
            ),
            (unknown, by("single_use"), SessionOrigin::Unclear),
            (
                unknown,
                Evidence {
                    issued_by: Some(1),
                    ..by("not_enough_evidence")
                },
                SessionOrigin::Unclear,
            ),
            (
                unknown,
                Evidence {
                    age_ns: Some(1),
                    ..by("not_enough_evidence")
                },
                SessionOrigin::Unclear,
            ),
        ] {
            assert_eq!(
                origin(reason, evidence),
                expected,
                "{reason:?} {evidence:?}"
            );
        }
    }
}
