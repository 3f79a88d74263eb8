//! Recordings of `reprise record`, to be repeated with shifted times: a replay shows days of
//! watching within seconds.

use std::fs;
use std::path::Path;

use reprise_core::pipeline::record::{Record, TICK};
use reprise_core::pipeline::wire::TokenRecord;
use reprise_ebpf::handshake::SessionAge;
use reprise_ebpf::{Header, Socket};
use zerocopy::IntoBytes as _;

const MAGIC: &[u8] = b"reprise recording 3\n";
/// Tag of a frame with an event.
const TAG_EVENT: u8 = b'E';
const SECOND_NS: u64 = 1_000_000_000;
/// Libraries store times in seconds, or from OpenSSL 3.2 on in nanoseconds, which are larger.
const MAX_SECONDS: u64 = 1 << 40;

/// Records of a recording, in order of arrival. The agent's status is omitted.
#[derive(Debug)]
pub struct Recording(Vec<Record>);

impl Recording {
    /// Reads a recording; an incomplete frame at its end is ignored.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).expect("failed to read a recording");
        let mut rest = bytes
            .strip_prefix(MAGIC)
            .expect("a recording of this version");
        let mut records = Vec::new();
        while let Some((head, after)) = rest.split_first_chunk::<5>() {
            let [a, b, c, d, tag] = *head;
            let length = u32::from_le_bytes([a, b, c, d]) as usize;
            let Some((payload, after)) = after.split_at_checked(length) else {
                break;
            };
            if tag == TAG_EVENT {
                records.push(Record::decode(payload).expect("failed to decode a record"));
            }
            rest = after;
        }
        Self(records)
    }

    /// Writes the recording `times` times in a row, `period_s` seconds apart. In each repetition
    /// the connections, sessions and tickets are new ones, and with `new_keys` the ticket keys,
    /// too.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write_repeated(&self, path: &Path, times: u32, period_s: u64, new_keys: bool) {
        let mut bytes = MAGIC.to_vec();
        for number in 0..times {
            let shift = Shift {
                number,
                seconds: u64::from(number) * period_s,
                new_keys,
            };
            for record in &self.0 {
                let record = shift.apply(record.clone());
                let tick = tick(&record);
                let payload = match &tick {
                    Some(header) => header.as_bytes(),
                    None => record.bytes(),
                };
                let length = u32::try_from(payload.len()).expect("a short record");
                bytes.extend(length.to_le_bytes());
                bytes.push(TAG_EVENT);
                bytes.extend(payload);
            }
        }
        fs::write(path, bytes).expect("failed to write a recording");
    }
}

fn tick(record: &Record) -> Option<Header> {
    let Record::Tick(time_ns) = record else {
        return None;
    };
    #[expect(clippy::cast_possible_truncation, reason = "16")]
    let size = size_of::<Header>() as u32;
    Some(Header {
        kind: TICK,
        size,
        time_ns: *time_ns,
    })
}

/// One repetition.
#[derive(Debug, Clone, Copy)]
struct Shift {
    number: u32,
    seconds: u64,
    new_keys: bool,
}

impl Shift {
    fn apply(self, mut record: Record) -> Record {
        match &mut record {
            Record::Handshake(event) => {
                self.header(&mut event.header);
                self.times([
                    &mut event.begin_ns,
                    &mut event.heard_ns,
                    &mut event.rejected_ns,
                ]);
                self.random(&mut event.client_random);
                self.socket(&mut event.socket);
                self.age(&mut event.session);
                self.age(&mut event.rejected);
                if event.session_id.length > 0 {
                    self.hash_bytes(&mut event.session_id.bytes);
                }
            }
            Record::Wire(record) => {
                self.header(&mut record.header);
                self.times([&mut record.begin_ns, &mut record.answer_ns]);
                self.random(&mut record.client_random);
                self.socket(&mut record.socket);
                let tokens = [
                    &mut record.session_id,
                    &mut record.ticket,
                    &mut record.given_id,
                    &mut record.given_ticket,
                ];
                let identities = &mut record.identities;
                tokens
                    .into_iter()
                    .chain(identities)
                    .for_each(|token| self.token(token));
            }
            Record::SessionRemoved(event) => {
                self.header(&mut event.header);
                self.age(&mut event.session);
                if event.session_id.length > 0 {
                    self.hash_bytes(&mut event.session_id.bytes);
                }
            }
            Record::Tcp(event) => {
                self.header(&mut event.header);
                self.socket(&mut event.socket);
            }
            Record::Alert(event) => {
                self.header(&mut event.header);
                self.times([&mut event.completed_ns]);
            }
            Record::Exec(event) => self.header(&mut event.header),
            Record::Listener(event) => self.header(&mut event.header),
            Record::ListenerOwner(event) => {
                self.header(&mut event.header);
                self.times([&mut event.from_ns]);
            }
            Record::Exit(event) => self.header(&mut event.header),
            Record::Clock(event) => self.header(&mut event.header),
            Record::Workload(event) => self.header(&mut event.header),
            Record::Tick(time_ns) => self.times([time_ns]),
        }
        record
    }

    fn times<const N: usize>(self, times: [&mut u64; N]) {
        for time in times {
            // 0 where there is none.
            if *time > 0 {
                *time += self.seconds * SECOND_NS;
            }
        }
    }

    fn header(self, header: &mut Header) {
        self.times([&mut header.time_ns]);
    }

    fn random(self, random: &mut [u8; 32]) {
        for (byte, change) in random.iter_mut().zip(self.number.to_le_bytes()) {
            *byte ^= change;
        }
    }

    fn socket(self, socket: &mut Socket) {
        if socket.cookie != 0 {
            socket.cookie ^= u64::from(self.number) << 40;
        }
    }

    fn hash(self, hash: u64) -> u64 {
        hash ^ (u64::from(self.number) << 8)
    }

    /// Changes a hash that a record holds as bytes.
    fn hash_bytes(self, bytes: &mut [u8; 32]) {
        if let Some(first) = bytes.first_chunk_mut() {
            *first = self.hash(u64::from_be_bytes(*first)).to_be_bytes();
        }
    }

    fn token(self, token: &mut TokenRecord) {
        if token.length == 0 {
            return;
        }
        token.hash = self.hash(token.hash);
        if self.new_keys && token.key != 0 {
            token.key ^= self.number << 8;
        }
    }

    fn age(self, age: &mut SessionAge) {
        let unit = if age.time < MAX_SECONDS { 1 } else { SECOND_NS };
        if age.time > 0 {
            age.time += self.seconds * unit;
        }
    }
}
