//! Error reasons in words: their names, and what to do about those that only handshakes meet that try to resume. Pure.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use crate::{model::Role, pipeline::stats::Errors};

/// How long the log is silent of a reason that it has named, nanoseconds.
const SILENCE_NS: u64 = 600_000_000_000;

/// Names of error reasons by number, as libraries of this host have them.
pub type Names = BTreeMap<u32, String>;

/// The name of a reason; its number where no library of this host names it.
#[must_use]
pub fn name(names: &Names, reason: u32) -> Cow<'_, str> {
    match names.get(&reason) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("reason_{reason}")),
    }
}

/// What lies behind a reason that only a handshake meets that tries to resume a session: a client without one gets through.
#[must_use]
pub fn advice(name: &str) -> Option<&'static str> {
    Some(match name {
        "session_id_context_uninitialized" => {
            "the server asks for client certificates and has no session ID context: \
             it refuses every client that offers a session; SSL_CTX_set_session_id_context sets one"
        }
        "attempt_to_reuse_session_in_different_context" => {
            "sessions of one service are offered to another; give both one session ID context, or clients a cache each"
        }
        "ssl_session_id_conflict" | "ssl_session_id_callback_failed" => {
            "the application's own session IDs are not unique"
        }
        "ssl_session_id_has_bad_length" | "ssl3_session_id_too_long" => {
            "a cache or a proxy in between damages session IDs"
        }
        "ssl_session_version_mismatch" => {
            "a session is offered to a server that speaks another version by now"
        }
        "old_session_cipher_not_returned" | "required_cipher_missing" => {
            "a session's cipher is not allowed any more on one of both sides; sessions must be dropped when ciphers change"
        }
        "old_session_compression_algorithm_not_returned"
        | "required_compression_algorithm_missing" => {
            "a session's compression is not allowed any more on one of both sides"
        }
        "inconsistent_extms" => {
            "the extended master secret is offered on only one of a session's handshakes; upgrade the older library"
        }
        "inconsistent_early_data_alpn" | "inconsistent_early_data_sni" => {
            "early data is offered for another protocol or name than the session's"
        }
        "binder_does_not_verify" | "bad_psk" | "bad_psk_identity" => {
            "a TLS 1.3 session's secret differs between both sides; a shared cache or ticket key may be mixed up"
        }
        "ticket_expired" => "a ticket outlives the session that the server keeps for it",
        _ => return None,
    })
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Side of the observed process.
    pub role: Role,
    /// The reason's name.
    pub reason: String,
    /// Failures since the last line about it, or since the start.
    pub failures: u64,
    /// What to do, for a reason that only resumption has.
    pub advice: Option<&'static str>,
}

/// What the log has said of reasons; bounded as [`Errors`] is.
#[derive(Debug, Default)]
pub struct Log(HashMap<(u32, Role), (u64, u64)>);

impl Log {
    /// The lines that are due: the first failure for a reason, and later ones after [`SILENCE_NS`].
    pub fn due(&mut self, errors: &Errors, names: &Names, now_ns: u64) -> Vec<Line> {
        let risen = errors.iter().filter_map(|(reason, role, sum)| {
            let said = self.0.get(&(reason, role)).copied();
            let (before, at_ns) = said.unwrap_or((0, 0));
            let due = said.is_none() || at_ns.saturating_add(SILENCE_NS) <= now_ns;
            (sum > before && due).then_some((reason, role, sum, sum - before))
        });
        let risen: Vec<_> = risen.collect();
        let lines = risen.into_iter().map(|(reason, role, sum, failures)| {
            self.0.insert((reason, role), (sum, now_ns));
            let name = name(names, reason).into_owned();
            Line {
                role,
                advice: advice(&name),
                reason: name,
                failures,
            }
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    #[test]
    fn a_reason_is_named_once_and_again_after_a_while() {
        let names = Names::from([(277, "session_id_context_uninitialized".to_owned())]);
        let mut errors = Errors::default();
        let mut log = Log::default();
        errors.add(Role::Server, 277);
        errors.add(Role::Server, 9);
        let lines = log.due(&errors, &names, 5);
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (lines[0].reason.as_str(), lines[0].advice),
            ("reason_9", None)
        );
        assert!(lines[1].advice.unwrap().contains("session_id_context"));
        errors.add(Role::Server, 277);
        assert_eq!(log.due(&errors, &names, 6), []);
        let lines = log.due(&errors, &names, 5 + SILENCE_NS);
        assert_eq!((lines.len(), lines[0].failures), (1, 1));
        assert_eq!(log.due(&errors, &names, 5 + 3 * SILENCE_NS), []);
    }
}
