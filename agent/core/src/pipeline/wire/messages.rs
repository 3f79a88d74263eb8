//! Handshake messages from the bodies of handshake records: a message may span records, and a
//! record may hold several messages (RFC 8446, section 5.1). Buffers only the messages that are
//! parsed.

/// Longest message buffered; ClientHellos with post-quantum shares and large tickets have about
/// 3,000 bytes.
const MAX_KEPT: usize = 16 * 1024;

/// Handshake message types (RFC 8446, section 4, and RFC 5246, section 7.4).
pub(super) mod kind {
    pub(crate) const CLIENT_HELLO: u8 = 1;
    pub(crate) const SERVER_HELLO: u8 = 2;
    pub(crate) const NEW_SESSION_TICKET: u8 = 4;
    pub(crate) const CERTIFICATE: u8 = 11;
    pub(crate) const SERVER_KEY_EXCHANGE: u8 = 12;
    pub(crate) const SERVER_HELLO_DONE: u8 = 14;
}

/// Message parser of one direction.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Header of the current message: type and length.
    head: Vec<u8>,
    /// Bytes of its body that have not arrived.
    left: usize,
    /// Its body so far, if it is buffered.
    body: Vec<u8>,
}

impl Messages {
    /// Adds the next bytes; `out` receives the type of each message and its body, which is empty
    /// for messages that are not parsed.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut impl FnMut(u8, &[u8])) {
        loop {
            if self.head.len() < 4 {
                let take = bytes.len().min(4 - self.head.len());
                self.head.extend_from_slice(&bytes[..take]);
                bytes = &bytes[take..];
                let [_, a, b, c] = self.head[..] else {
                    return;
                };
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
            }
            let kind = self.head[0];
            let take = bytes.len().min(self.left);
            let read = matches!(
                kind,
                kind::CLIENT_HELLO | kind::SERVER_HELLO | kind::NEW_SESSION_TICKET
            );
            if read && self.body.len() + self.left <= MAX_KEPT {
                self.body.extend_from_slice(&bytes[..take]);
            }
            self.left -= take;
            bytes = &bytes[take..];
            if self.left > 0 {
                return;
            }
            out(kind, &self.body);
            self.head.clear();
            self.body = Vec::new();
        }
    }

    /// Bytes buffered.
    pub(super) fn held(&self) -> usize {
        self.body.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = (body.len() as u32).to_be_bytes();
        [&[kind, a, b, c], body].concat()
    }

    fn read(pieces: &[&[u8]]) -> Vec<(u8, Vec<u8>)> {
        let mut messages = Messages::default();
        let mut seen = Vec::new();
        for piece in pieces {
            messages.push(piece, &mut |kind, body| seen.push((kind, body.to_vec())));
        }
        seen
    }

    #[test]
    fn bodies_of_other_messages_are_not_buffered() {
        let bytes = [message(11, &[9; 5_000]), message(2, b"hello")].concat();
        assert_eq!(read(&[&bytes]), [(11, vec![]), (2, b"hello".to_vec())]);
    }

    #[test]
    fn implausibly_long_message_is_not_buffered() {
        let mut messages = Messages::default();
        messages.push(&[1, 255, 255, 255], &mut |_, _| panic!("complete"));
        messages.push(&[0; 4_000], &mut |_, _| panic!("complete"));
        assert_eq!(messages.held(), 0);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(
            bodies in prop::collection::vec((0..20_u8, prop::collection::vec(any::<u8>(), 0..60)), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bytes: Vec<u8> = bodies.iter().flat_map(|(kind, body)| message(*kind, body)).collect();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[&bytes]));
        }
    }
}
