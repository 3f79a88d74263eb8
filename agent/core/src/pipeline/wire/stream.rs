//! One direction of a connection: the kernel's segments in the order of the stream, repetitions and overlaps removed.

use reprise_ebpf::wire::{Segment, what};

/// Segments that may wait for one that should have come before them.
const MAX_WAITING: usize = 32;
/// Length of a record header, which lies between two bodies.
const HEADER: u32 = 5;

/// What comes next in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// Bytes of handshake records.
    Handshake(Vec<u8>),
    /// Bytes of alert records.
    Alert(Vec<u8>),
    /// A record of which the header alone is known: type, length of the body.
    Record(u8, u16),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Where the next record body, or the rest of one, begins; `None` before the first segment.
    next: Option<u32>,
    /// What came too early: place, bytes up to the next header, item.
    waiting: Vec<(u32, u32, Item)>,
}

impl Stream {
    /// Takes a segment; `out` gets all that can now be read, in order.
    pub(super) fn push(&mut self, segment: &Segment, bytes: &[u8], out: &mut impl FnMut(Item)) {
        let (at, left, item) = match segment.what {
            what::HANDSHAKE | what::ALERT if !bytes.is_empty() => {
                let item = if segment.what == what::ALERT {
                    Item::Alert(bytes.to_vec())
                } else {
                    Item::Handshake(bytes.to_vec())
                };
                // Never less than there is, whatever the event says.
                let left = u32::from(segment.record).max(bytes.len() as u32);
                (segment.seq, left, item)
            }
            kind => (
                segment.seq.wrapping_add(HEADER),
                u32::from(segment.record),
                Item::Record(kind, segment.record),
            ),
        };
        let next = *self.next.get_or_insert(at);
        if ahead(at, next) > 0 {
            if self.waiting.len() < MAX_WAITING {
                self.waiting.push((at, left, item));
            }
            return;
        }
        self.take(at, left, item, out);
        while let Some(index) = self.waiting.iter().position(|(at, ..)| self.is_due(*at)) {
            let (at, left, item) = self.waiting.swap_remove(index);
            self.take(at, left, item, out);
        }
    }

    fn is_due(&self, at: u32) -> bool {
        self.next.is_some_and(|next| ahead(at, next) <= 0)
    }

    /// Reads what is not read yet of an item that begins here or before.
    fn take(&mut self, at: u32, left: u32, item: Item, out: &mut impl FnMut(Item)) {
        let Some(next) = self.next else {
            return;
        };
        let known = next.wrapping_sub(at);
        let rest = |bytes: Vec<u8>| bytes.get(known as usize..).map(<[u8]>::to_vec);
        let (item, length) = match item {
            Item::Record(..) if known == 0 => (item, left),
            Item::Record(..) => return,
            Item::Handshake(bytes) => {
                let length = bytes.len() as u32;
                let Some(rest) = rest(bytes).filter(|rest| !rest.is_empty()) else {
                    return;
                };
                (Item::Handshake(rest), length)
            }
            Item::Alert(bytes) => {
                let length = bytes.len() as u32;
                let Some(rest) = rest(bytes).filter(|rest| !rest.is_empty()) else {
                    return;
                };
                (Item::Alert(rest), length)
            }
        };
        let header = if length == left { HEADER } else { 0 };
        self.next = Some(at.wrapping_add(length).wrapping_add(header));
        out(item);
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        let length = |item: &Item| match item {
            Item::Handshake(bytes) | Item::Alert(bytes) => bytes.len(),
            Item::Record(..) => 0,
        };
        self.waiting.iter().map(|(.., item)| length(item)).sum()
    }
}

/// How far `at` lies behind `next` in the stream; sequence numbers wrap (RFC 9293, section 3.4).
const fn ahead(at: u32, next: u32) -> i32 {
    at.wrapping_sub(next) as i32
}
