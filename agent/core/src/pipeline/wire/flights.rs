//! State of one connection's first flights, and whether they have ended.

use std::net::SocketAddr;

use reprise_ebpf::{
    Socket,
    handshake::role,
    wire::{Segment, direction, what},
};

use super::{
    early_data::{self, ClientRecord, EarlyData},
    messages::{Messages, kind},
    parse,
    record::{TLS13, WireRecord, end, flag},
    stream::{Item, Stream},
};
use crate::pipeline::socket::words;

/// `AlertLevel` fatal, and the two alerts that do not end a handshake (RFC 8446, section 6).
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
/// Longest TLS 1.3 record that can only be an alert: two bytes, their type and a tag of 16 bytes. A
/// Finished has at least 36 bytes.
const ENCRYPTED_ALERT: u16 = 24;

/// State of one direction.
#[derive(Debug, Default)]
struct Side {
    stream: Stream,
    messages: Messages,
    /// Bytes of an alert in clear, whose second byte may arrive later.
    alert: Vec<u8>,
    /// Whether ChangeCipherSpec, or an encrypted record of TLS 1.3, was sent in this direction.
    ciphered: bool,
    /// Whether the Finished was sent in this direction, as far as encrypted records show it.
    finished: bool,
}

/// First flights of one connection.
#[derive(Debug)]
pub(super) struct Flights {
    event: WireRecord,
    last_ns: u64,
    client: Side,
    server: Side,
    /// Direction of the ClientHello.
    client_way: u8,
    early_data: EarlyData,
    /// How the server closed before the client's Finished had passed.
    closed_by_server: Option<u8>,
}

impl Flights {
    /// A connection that begins with this segment.
    pub(super) fn new(segment: &Segment, client: bool) -> Self {
        let mut event = WireRecord::BLANK;
        event.socket = segment.socket;
        event.begin_ns = segment.header.time_ns;
        event.cgroup = segment.cgroup;
        event.role = if client { role::CLIENT } else { role::SERVER };
        Self {
            event,
            last_ns: segment.header.time_ns,
            client: Side::default(),
            server: Side::default(),
            client_way: segment.direction,
            early_data: EarlyData::default(),
            closed_by_server: None,
        }
    }

    /// Updates times and counters from a segment.
    pub(super) fn touch(&mut self, segment: &Segment) {
        let silence_ns = segment.header.time_ns.saturating_sub(self.last_ns);
        self.event.silence_ms = (silence_ns / 1_000_000).try_into().unwrap_or(u32::MAX);
        self.last_ns = self.last_ns.max(segment.header.time_ns);
        if segment.rtt_us != 0 {
            self.event.rtt_us = segment.rtt_us;
        }
        let way = usize::from(segment.direction != direction::IN);
        self.event.repeats[way] = self.event.repeats[way].max(segment.repeats);
    }

    /// Adds what preceded the ClientHello: the client that a header of the PROXY protocol names,
    /// and whether TLS did not begin with the connection.
    pub(super) fn set_preceded(&mut self, client: Option<SocketAddr>, is_late: bool) {
        if let Some(client) = client {
            self.event.proxied = words(client.ip());
            self.event.proxied_port = client.port();
        }
        if is_late {
            self.event.flags |= flag::LATE;
        }
    }

    /// Sets the socket, once it has a cookie.
    pub(super) fn adopt(&mut self, socket: &Socket) {
        self.event.socket = *socket;
    }

    /// Time of its newest segment, nanoseconds.
    pub(super) const fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Bytes buffered.
    pub(super) fn held(&self) -> usize {
        let side = |side: &Side| side.stream.held() + side.messages.held();
        side(&self.client) + side(&self.server)
    }

    /// Adds a segment; returns a constant of [`end`] if the segment ends the first flights.
    pub(super) fn push(&mut self, segment: &Segment, bytes: &[u8]) -> Option<u8> {
        let incoming = segment.direction == direction::IN;
        if matches!(segment.what, what::FIN | what::RESET) && !self.event.has(flag::OFFER_READ) {
            self.event.begin_ns = opened_ns(segment).unwrap_or(self.event.begin_ns);
        }
        let from_client = segment.direction == self.client_way;
        let end = match segment.what {
            what::FIN if incoming => Some(end::CLOSED_IN),
            what::FIN => Some(end::CLOSED_OUT),
            what::RESET => Some(end::RESET),
            what::LOST => return Some(end::UNKNOWN),
            _ => None,
        };
        if let Some(end) = end {
            return self.close(end, from_client && segment.what == what::FIN);
        }
        if from_client && segment.skipped > 0 {
            self.early_data.pass();
        }
        let side = if from_client {
            &mut self.client
        } else {
            &mut self.server
        };
        let mut items = Vec::new();
        side.stream
            .push(segment, bytes, &mut |item| items.push(item));
        items
            .into_iter()
            .find_map(|item| self.item(item, from_client, incoming))
    }

    /// The end of the connection. A server that has answered early data may close before the
    /// client's Finished passes.
    fn close(&mut self, end: u8, by_client: bool) -> Option<u8> {
        if self.early_data.unclear {
            return Some(end::UNKNOWN);
        }
        if end != end::RESET
            && !by_client
            && self.server.ciphered
            && early_data::is_undecided(&self.event)
        {
            self.closed_by_server.get_or_insert(end);
            return None;
        }
        Some(self.closed_by_server.unwrap_or(end))
    }

    fn item(&mut self, item: Item, from_client: bool, incoming: bool) -> Option<u8> {
        let (event, last_ns) = (&mut self.event, self.last_ns);
        match item {
            Item::Handshake(bytes) => {
                let side = if from_client {
                    &mut self.client
                } else {
                    &mut self.server
                };
                side.messages
                    .push(&bytes, &mut |kind, body| match (kind, from_client) {
                        (kind::CLIENT_HELLO, true) => parse::client_hello(body, event),
                        (kind::SERVER_HELLO, false) => {
                            parse::server_hello(body, event);
                            if event.has(flag::ANSWER_READ) && event.answer_ns == 0 {
                                event.answer_ns = last_ns;
                            }
                        }
                        (kind::NEW_SESSION_TICKET, false) => {
                            parse::new_session_ticket(body, event);
                        }
                        (
                            kind::CERTIFICATE | kind::SERVER_KEY_EXCHANGE | kind::SERVER_HELLO_DONE,
                            false,
                        ) => event.flags |= flag::FULL,
                        _ => {}
                    });
                None
            }
            Item::Alert(bytes) => {
                let side = if from_client {
                    &mut self.client
                } else {
                    &mut self.server
                };
                side.alert.extend_from_slice(&bytes);
                let [level, description] = side.alert[..] else {
                    return None;
                };
                side.alert.clear();
                let quiet = description == CLOSE_NOTIFY || description == USER_CANCELED;
                let fatal = level == FATAL && !quiet;
                if fatal {
                    event.alert = description;
                }
                fatal.then_some(if incoming {
                    end::ALERT_IN
                } else {
                    end::ALERT_OUT
                })
            }
            Item::Record(kind, length) => self.record(kind, length, from_client, incoming),
        }
    }

    /// Adds an encrypted record: its type and length still show the handshake's progress.
    fn record(&mut self, kind: u8, length: u16, from_client: bool, incoming: bool) -> Option<u8> {
        let answered = self.event.has(flag::ANSWER_READ);
        let encrypted_alert = Some(if incoming {
            end::ALERT_IN
        } else {
            end::ALERT_OUT
        });
        if self.event.version == TLS13 {
            // The server's whole flight is encrypted. The client answers it with Finished, possibly
            // after a certificate; an alert in its place is shorter than either.
            match (kind, from_client) {
                (what::APPLICATION_DATA, true)
                    if self.server.ciphered && early_data::is_undecided(&self.event) =>
                {
                    return match self.early_data.push(length, &mut self.event) {
                        ClientRecord::Finished => Some(end::COMPLETED),
                        ClientRecord::Alert => encrypted_alert,
                        ClientRecord::Other => None,
                    };
                }
                (what::APPLICATION_DATA, true) if self.server.ciphered => {
                    return if length <= ENCRYPTED_ALERT {
                        encrypted_alert
                    } else {
                        Some(end::COMPLETED)
                    };
                }
                (_, false) => self.server.ciphered = true,
                _ => {}
            }
            return None;
        }
        let side = if from_client {
            &mut self.client
        } else {
            &mut self.server
        };
        match kind {
            what::CHANGE_CIPHER_SPEC => side.ciphered = true,
            what::HANDSHAKE if side.ciphered => side.finished = true,
            what::ALERT if side.ciphered && answered => return encrypted_alert,
            _ => {}
        }
        if self.server.ciphered && answered {
            self.event.flags |= flag::SERVER_CIPHERED;
        }
        (answered && self.client.finished && self.server.finished).then_some(end::COMPLETED)
    }

    /// The record of an accepted connection on which the client sent nothing.
    pub(super) fn silent(segment: &Segment) -> WireRecord {
        let end = match (segment.what, segment.direction) {
            (what::SILENT_RESET, _) => end::RESET,
            (_, direction::IN) => end::CLOSED_IN,
            _ => end::CLOSED_OUT,
        };
        let mut flights = Self::new(segment, false);
        flights.last_ns = opened_ns(segment).unwrap_or(flights.last_ns);
        flights.event.begin_ns = flights.last_ns;
        flights.touch(segment);
        flights.ended(end)
    }

    /// The record of first flights that ended this way.
    pub(super) fn ended(mut self, end: u8) -> WireRecord {
        self.event.header.time_ns = self.last_ns;
        self.event.end = end;
        early_data::conclude(&mut self.event);
        self.event
    }
}

/// When the connection that this segment ends was opened; `None` where that was not observed.
fn opened_ns(segment: &Segment) -> Option<u64> {
    let age_ns = u64::from(segment.age_ms) * 1_000_000;
    (age_ns > 0).then(|| segment.header.time_ns.saturating_sub(age_ns))
}
