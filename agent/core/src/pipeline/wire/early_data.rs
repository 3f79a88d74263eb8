//! What became of a client's early data (RFC 8446, sections 2.3 and 4.2.10).
//!
//! The server's answer is encrypted. A client whose early data was accepted sends EndOfEarlyData
//! before its Finished; one whose early data was rejected does not. Both have a known length.

use super::record::{TLS13, WireRecord, early, flag};

/// Bytes of the type of an encrypted record, behind its content.
const TYPE: u16 = 1;
/// Bytes of a message header, and so of EndOfEarlyData.
const MESSAGE_HEADER: u16 = 4;
/// Bytes of an alert.
const ALERT: u16 = 2;
/// Cipher suites of TLS 1.3 (RFC 8446, appendix B.4) with a hash of 48 bytes, and with a tag of
/// eight bytes.
const AES_256_GCM_SHA384: u16 = 0x1302;
const AES_128_CCM_8_SHA256: u16 = 0x1305;

/// A record of the client behind the server's flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientRecord {
    Finished,
    Alert,
    Other,
}

/// State of one connection's early data.
#[derive(Debug, Default)]
pub(super) struct EarlyData {
    /// Whether early data passed.
    seen: bool,
    /// Whether the last record had the length of EndOfEarlyData.
    ended: bool,
    /// Whether a record passed behind the server's flight that is neither EndOfEarlyData nor
    /// Finished nor an alert, by its length.
    pub(super) unclear: bool,
}

/// Whether the client offered early data and only its records show whether the server accepted it.
pub(super) const fn is_undecided(event: &WireRecord) -> bool {
    event.has(flag::EARLY_DATA) && from_hello(event).is_none()
}

/// The outcome, where the server's hello shows it: a server accepts early data only under the first
/// PSK.
const fn from_hello(event: &WireRecord) -> Option<u8> {
    let answered = event.has(flag::ANSWER_READ);
    let first_psk = event.has(flag::PSK_ACCEPTED) && event.accepted == 0;
    if event.has(flag::RETRY) || (answered && !(first_psk && event.version == TLS13)) {
        Some(early::REJECTED)
    } else if answered {
        None
    } else {
        Some(early::UNKNOWN)
    }
}

/// Sets what became of early data where the hello messages show it.
pub(super) const fn conclude(event: &mut WireRecord) {
    if event.has(flag::EARLY_DATA)
        && let Some(outcome) = from_hello(event)
    {
        event.early_data = outcome;
    }
}

impl EarlyData {
    /// Records that early data passed.
    pub(super) const fn pass(&mut self) {
        self.seen = true;
    }

    /// Adds a record that the client sent behind the server's flight, where [`is_undecided`].
    pub(super) const fn push(&mut self, length: u16, event: &mut WireRecord) -> ClientRecord {
        let tag = if event.cipher == AES_128_CCM_8_SHA256 {
            8
        } else {
            16
        };
        let hash = if event.cipher == AES_256_GCM_SHA384 {
            48
        } else {
            32
        };
        let ended = core::mem::replace(&mut self.ended, false);
        if length == MESSAGE_HEADER + TYPE + tag {
            self.ended = true;
        } else if length == MESSAGE_HEADER + hash + TYPE + tag {
            // Without any early data before it, this can be early data of the same length.
            event.early_data = match (ended, self.seen) {
                (true, _) => early::ACCEPTED,
                (false, true) => early::REJECTED,
                (false, false) => early::UNKNOWN,
            };
            return ClientRecord::Finished;
        } else if length == ALERT + TYPE + tag {
            return ClientRecord::Alert;
        } else {
            self.seen = true;
            self.unclear = true;
        }
        ClientRecord::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hello that offers early data, and an answer that accepts its first PSK.
    fn answered(cipher: u16) -> WireRecord {
        WireRecord {
            flags: flag::EARLY_DATA | flag::ANSWER_READ | flag::PSK_ACCEPTED,
            version: TLS13,
            cipher,
            ..WireRecord::BLANK
        }
    }

    /// Outcome after these records of the client, and whether the last one is a Finished.
    fn outcome(cipher: u16, early_before: bool, lengths: &[u16]) -> (u8, bool) {
        let mut event = answered(cipher);
        assert!(is_undecided(&event));
        let mut state = EarlyData::default();
        if early_before {
            state.pass();
        }
        let last = lengths
            .iter()
            .map(|length| state.push(*length, &mut event))
            .last();
        conclude(&mut event);
        (event.early_data, last == Some(ClientRecord::Finished))
    }

    #[test]
    fn end_of_early_data_before_finished_shows_acceptance() {
        for (cipher, lengths) in [
            (AES_256_GCM_SHA384, [21, 69]),
            (0x1301, [21, 53]),
            (0x1303, [21, 53]),
            (AES_128_CCM_8_SHA256, [13, 45]),
        ] {
            for early_before in [true, false] {
                let found = outcome(cipher, early_before, &lengths);
                assert_eq!(found, (early::ACCEPTED, true), "{cipher:#x}");
            }
        }
        // Early data behind the server's flight.
        let found = outcome(AES_256_GCM_SHA384, false, &[300, 53, 21, 69]);
        assert_eq!(found, (early::ACCEPTED, true));
    }

    #[test]
    fn finished_alone_shows_rejection_of_early_data_that_passed() {
        assert_eq!(outcome(0x1301, true, &[53]), (early::REJECTED, true));
        assert_eq!(outcome(0x1301, false, &[300, 53]), (early::REJECTED, true));
        // Early data can have the length of EndOfEarlyData.
        let found = outcome(0x1301, true, &[21, 30, 53]);
        assert_eq!(found, (early::REJECTED, true));
        // This can be early data.
        assert_eq!(outcome(0x1301, false, &[53]), (early::UNKNOWN, true));
    }

    #[test]
    fn end_of_early_data_is_no_alert() {
        let mut state = EarlyData::default();
        let mut event = answered(0x1301);
        assert_eq!(state.push(21, &mut event), ClientRecord::Other);
        assert_eq!(state.push(19, &mut event), ClientRecord::Alert);
        assert!(!state.unclear);
    }

    #[test]
    fn hello_that_cannot_accept_rejects() {
        for event in [
            WireRecord {
                flags: flag::EARLY_DATA | flag::RETRY,
                ..WireRecord::BLANK
            },
            WireRecord {
                flags: flag::EARLY_DATA | flag::ANSWER_READ,
                ..answered(0x1301)
            },
            WireRecord {
                accepted: 1,
                ..answered(0x1301)
            },
            WireRecord {
                version: 0x0303,
                ..answered(0x1301)
            },
        ] {
            let mut event = event;
            assert!(!is_undecided(&event));
            conclude(&mut event);
            assert_eq!(event.early_data, early::REJECTED);
        }
        let mut unanswered = WireRecord {
            flags: flag::EARLY_DATA,
            ..WireRecord::BLANK
        };
        conclude(&mut unanswered);
        assert_eq!(unanswered.early_data, early::UNKNOWN);
    }
}
