//! The failed handshakes of late, each with what is known of it: for people who ask why. Bounded: the oldest goes first.

use std::collections::VecDeque;

use super::PeerKey;
use crate::pipeline::{
    correlate::{Cause, Observation, Trouble, Version},
    wire::end,
};

/// Failed handshakes kept.
const MAX_FAILURES: usize = 256;

/// One failed handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// End, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Whose it was.
    pub peer: PeerKey,
    /// Why it failed.
    pub cause: Cause,
    /// Version agreed on.
    pub version: Version,
    /// First drive to end, nanoseconds.
    pub duration_ns: u64,
    /// Library error reason, 0 for none.
    pub reason: u32,
    /// Alert that ended it, where one is known, and whether it arrived.
    pub alert: Option<(u8, bool)>,
    /// What speaks for loss, and what TCP did otherwise.
    pub trouble: Trouble,
    /// Process; 0 where it was seen on the wire alone.
    pub tgid: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Failures(VecDeque<Failure>);

impl Failures {
    pub(super) fn add(&mut self, seen: &Observation, cause: Cause, peer: PeerKey) {
        if self.0.len() == MAX_FAILURES {
            self.0.pop_front();
        }
        let hello = seen.hello.as_ref();
        let on_wire = hello.and_then(|hello| match (hello.end, hello.alert) {
            // Sealed ones have no description to be read.
            (_, 0) => None,
            (end::ALERT_IN, alert) => Some((alert, true)),
            (end::ALERT_OUT, alert) => Some((alert, false)),
            _ => None,
        });
        let told = seen.reason.checked_sub(1000);
        let told = told.and_then(|alert| Some((u8::try_from(alert).ok()?, true)));
        self.0.push_back(Failure {
            time_ns: seen.time_ns,
            peer,
            cause,
            version: seen.version,
            duration_ns: seen.duration_ns,
            reason: seen.reason,
            alert: told.or(on_wire),
            trouble: seen.trouble,
            tgid: seen.tgid,
        });
    }

    /// The latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Failure> {
        self.0.iter().rev()
    }
}
