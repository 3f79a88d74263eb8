//! Error reasons of libraries: their names, and advice for those that only handshakes with an offer
//! have. Pure.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use crate::{model::Role, pipeline::stats::Errors};

/// Minimum time between two log entries about one reason, nanoseconds.
const MIN_INTERVAL_NS: u64 = 600_000_000_000;

/// Names of error reasons by number, from the libraries of this host.
pub type Names = BTreeMap<u32, String>;

/// The name of a reason; its number if no library of this host names it.
#[must_use]
pub fn name(names: &Names, reason: u32) -> Cow<'_, str> {
    match names.get(&reason) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("reason_{reason}")),
    }
}

/// Advice for a reason that only handshakes with an offer have: clients without a session succeed.
#[must_use]
pub fn advice(name: &str) -> Option<&'static str> {
    Some(match name {
        "session_id_context_uninitialized" => {
            "the server requests client certificates but has no session ID context, so that it \
             refuses every client that offers a session: set one with \
             SSL_CTX_set_session_id_context"
        }
        "attempt_to_reuse_session_in_different_context" => {
            "clients offer sessions of one service to another: give both services the same session \
             ID context, or give the clients a cache per service"
        }
        "ssl_session_id_conflict" | "ssl_session_id_callback_failed" => {
            "the application generates session IDs that are not unique"
        }
        "ssl_session_id_has_bad_length" | "ssl3_session_id_too_long" => {
            "a cache or a proxy on the path damages session IDs"
        }
        "ssl_session_version_mismatch" => {
            "clients offer sessions to a server that now speaks another version"
        }
        "old_session_cipher_not_returned" | "required_cipher_missing" => {
            "one side no longer allows the session's cipher: drop all sessions when the ciphers \
             change"
        }
        "old_session_compression_algorithm_not_returned"
        | "required_compression_algorithm_missing" => {
            "one side no longer allows the session's compression"
        }
        "inconsistent_extms" => {
            "only one of the session's handshakes offered the extended master secret: upgrade the \
             older library"
        }
        "inconsistent_early_data_alpn" | "inconsistent_early_data_sni" => {
            "clients offer early data for another protocol or server name than the session's"
        }
        "binder_does_not_verify" | "bad_psk" | "bad_psk_identity" => {
            "the two sides have different secrets for one TLS 1.3 session: check for a shared cache \
             or ticket key that mixes up sessions"
        }
        "ticket_expired" => "tickets outlive the session that the server stores for them",
        _ => return None,
    })
}

/// A log entry about failed handshakes with one error reason.
#[derive(Debug, PartialEq, Eq)]
pub struct FailureEntry {
    /// Role of the observed process.
    pub role: Role,
    /// Name of the reason.
    pub reason: String,
    /// Failures since the last entry about it, or since the start.
    pub failures: u64,
    /// Advice, for a reason that only handshakes with an offer have.
    pub advice: Option<&'static str>,
}

/// The last entry about a reason.
#[derive(Debug, Clone, Copy, Default)]
struct Logged {
    failures: u64,
    time_ns: u64,
}

/// Rate limit of the log entries about error reasons; bounded as [`Errors`] is.
#[derive(Debug, Default)]
pub struct FailureLog(HashMap<(u32, Role), Logged>);

impl FailureLog {
    /// The entries that are due: the first failure with a reason, and later ones after
    /// `MIN_INTERVAL_NS`.
    pub fn due(&mut self, errors: &Errors, names: &Names, now_ns: u64) -> Vec<FailureEntry> {
        let mut entries = Vec::new();
        for sum in errors.iter() {
            let logged = self.0.get(&(sum.reason, sum.role)).copied();
            let before = logged.unwrap_or_default();
            let is_due =
                logged.is_none() || before.time_ns.saturating_add(MIN_INTERVAL_NS) <= now_ns;
            if sum.failures <= before.failures || !is_due {
                continue;
            }
            let newest = Logged {
                failures: sum.failures,
                time_ns: now_ns,
            };
            self.0.insert((sum.reason, sum.role), newest);
            let reason = name(names, sum.reason).into_owned();
            entries.push(FailureEntry {
                role: sum.role,
                advice: advice(&reason),
                reason,
                failures: sum.failures - before.failures,
            });
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    #[test]
    fn a_reason_is_logged_once_and_again_after_the_interval() {
        let names = Names::from([(277, "session_id_context_uninitialized".to_owned())]);
        let mut errors = Errors::default();
        let mut log = FailureLog::default();
        errors.add(Role::Server, 277);
        errors.add(Role::Server, 9);
        let entries = log.due(&errors, &names, 5);
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (entries[0].reason.as_str(), entries[0].advice),
            ("reason_9", None)
        );
        assert!(entries[1].advice.unwrap().contains("session_id_context"));
        errors.add(Role::Server, 277);
        assert_eq!(log.due(&errors, &names, 6), []);
        let entries = log.due(&errors, &names, 5 + MIN_INTERVAL_NS);
        assert_eq!((entries.len(), entries[0].failures), (1, 1));
        assert_eq!(log.due(&errors, &names, 5 + 3 * MIN_INTERVAL_NS), []);
    }
}
