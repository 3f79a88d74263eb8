//! One direction of a connection: the kernel's segments in stream order, without duplicates and
//! overlaps.

use reprise_ebpf::wire::{Segment, what};

/// Out-of-order segments buffered at one time.
const MAX_WAITING: usize = 32;
/// Length of a record header, bytes.
const HEADER: u32 = 5;

/// Next item of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// Bytes of handshake records.
    Handshake(Vec<u8>),
    /// Bytes of alert records.
    Alert(Vec<u8>),
    /// A record of which only the header is known: type, length of the body.
    Record(u8, u16),
}

/// An item that arrived before the items that precede it.
#[derive(Debug)]
struct Early {
    /// Sequence number.
    at: u32,
    /// Bytes up to the next record header.
    left: u32,
    /// Bytes of records before it that the kernel did not emit.
    skipped: u32,
    item: Item,
}

/// Reassembly state of one direction.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Sequence number of the next record body, or of the rest of one; `None` before the first
    /// segment.
    next: Option<u32>,
    /// Items that arrived early.
    waiting: Vec<Early>,
}

impl Stream {
    /// Adds a segment; `out` receives every item that is complete now, in order.
    pub(super) fn push(&mut self, segment: &Segment, bytes: &[u8], out: &mut impl FnMut(Item)) {
        let (at, left, item) = match segment.what {
            what::HANDSHAKE | what::ALERT if !bytes.is_empty() => {
                let item = if segment.what == what::ALERT {
                    Item::Alert(bytes.to_vec())
                } else {
                    Item::Handshake(bytes.to_vec())
                };
                // The record's length is not trusted: at least the bytes of this segment.
                let left = u32::from(segment.record).max(bytes.len() as u32);
                (segment.seq, left, item)
            }
            kind => (
                segment.seq.wrapping_add(HEADER),
                u32::from(segment.record),
                Item::Record(kind, segment.record),
            ),
        };
        self.next.get_or_insert(at);
        let early = Early {
            at,
            left,
            skipped: segment.skipped,
            item,
        };
        if !self.is_due(&early) {
            if self.waiting.len() < MAX_WAITING {
                self.waiting.push(early);
            }
            return;
        }
        self.emit(early, out);
        while let Some(index) = self.waiting.iter().position(|early| self.is_due(early)) {
            let early = self.waiting.swap_remove(index);
            self.emit(early, out);
        }
    }

    fn is_due(&self, early: &Early) -> bool {
        self.next
            .is_some_and(|next| ahead(early.at, next.wrapping_add(early.skipped)) <= 0)
    }

    /// Emits the part of an item that has not been emitted.
    fn emit(&mut self, early: Early, out: &mut impl FnMut(Item)) {
        let Some(next) = self.next else {
            return;
        };
        let Early {
            at,
            left,
            skipped,
            item,
        } = early;
        // A repeated piece follows no gap.
        let known = match next.wrapping_sub(at) {
            known if known == skipped.wrapping_neg() => 0,
            known => known,
        };
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

    /// Bytes buffered.
    pub(super) fn held(&self) -> usize {
        let length = |item: &Item| match item {
            Item::Handshake(bytes) | Item::Alert(bytes) => bytes.len(),
            Item::Record(..) => 0,
        };
        self.waiting.iter().map(|early| length(&early.item)).sum()
    }
}

/// Distance of `at` beyond `next` in the stream; sequence numbers wrap (RFC 9293, section 3.4).
const fn ahead(at: u32, next: u32) -> i32 {
    at.wrapping_sub(next) as i32
}
