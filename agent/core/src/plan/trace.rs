//! What an abstract call leaves behind: values with their provenance, and the reads, writes and calls it made.
//!
//! Filled by an [`Isa`](super::isa::Isa), read by `fields` and `statem`.

use super::Field;
use super::field::MAX_POINTERS;

/// A plausible offset in a connection object; the largest is 0x1a00 or so.
const MAX_OFFSET: i64 = 0x1_0000;
/// Objects imagined in one call, at most.
const MAX_OBJECTS: usize = 256;
/// Reads, writes and calls kept of one call, at most.
const MAX_EVENTS: usize = 4096;

/// An imagined object: 0 is the one passed as argument, every other is what a pointer in another object leads to.
pub(super) type Object = usize;

/// A place in an imagined object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The object.
    pub(super) object: Object,
    /// Offset in it, bytes.
    pub(super) offset: i64,
}

/// An offset, if it is plausible.
pub(super) fn offset_in_object(offset: i64) -> Option<u32> {
    (0..MAX_OFFSET)
        .contains(&offset)
        .then(|| u32::try_from(offset).ok())?
}

/// What a register or a stack slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// This number: a constant, or an address in the image.
    Number(u64),
    /// A pointer to a place in an imagined object; never null.
    Pointer(Place),
    /// What was read from a place: the number zero, with its provenance.
    Field(Place),
    /// The stack pointer at entry plus this.
    Stack(i64),
    /// Not known.
    Unknown,
}

/// One read or write of an imagined object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    /// Where.
    pub(super) place: Place,
    /// How many bytes.
    pub(super) size: usize,
    /// What was read or written.
    pub(super) value: Value,
}

/// The record of one abstract call.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    /// For each object but the root, the place its pointer was read from: object `n` is at index `n - 1`.
    origins: Vec<Place>,
    /// Reads of imagined objects, in order.
    pub(super) reads: Vec<Access>,
    /// Writes to imagined objects, in order.
    pub(super) writes: Vec<Access>,
    /// Arguments 0 and 1 of every call made.
    pub(super) calls: Vec<[Value; 2]>,
    /// What the function returned; `None` when it was not followed to its end.
    pub(super) returned: Option<Value>,
}

impl Trace {
    /// The object that the pointer at `place` leads to: the same one each time. `None` when there are too many.
    pub(super) fn object_at(&mut self, place: Place) -> Option<Object> {
        let known = self.origins.iter().position(|origin| *origin == place);
        let index = match known {
            Some(index) => index,
            None if self.origins.len() < MAX_OBJECTS => {
                self.origins.push(place);
                self.origins.len() - 1
            }
            None => return None,
        };
        Some(index + 1)
    }

    /// Where the pointer to an object was read; `None` for the root.
    pub(super) fn origin(&self, object: Object) -> Option<Place> {
        self.origins.get(object.checked_sub(1)?).copied()
    }

    /// The way to a place from the root object, if few enough pointers lead there and all offsets are plausible.
    pub(super) fn field(&self, place: Place) -> Option<Field> {
        let mut through = [None; MAX_POINTERS];
        let mut object = place.object;
        while let Some(origin) = self.origin(object) {
            through.rotate_right(1);
            let first = through.first_mut()?;
            if first.is_some() {
                return None;
            }
            *first = Some(offset_in_object(origin.offset)?);
            object = origin.object;
        }
        Some(Field {
            through,
            ..Field::direct(offset_in_object(place.offset)?)
        })
    }

    /// The place a value was read from, be it a number or a pointer.
    pub(super) fn source(&self, value: Value) -> Option<Place> {
        match value {
            Value::Field(place) => Some(place),
            Value::Pointer(Place { object, offset: 0 }) => self.origin(object),
            _ => None,
        }
    }

    /// Notes a read.
    pub(super) fn read(&mut self, access: Access) {
        if self.reads.len() < MAX_EVENTS {
            self.reads.push(access);
        }
    }

    /// Notes a write.
    pub(super) fn write(&mut self, access: Access) {
        if self.writes.len() < MAX_EVENTS {
            self.writes.push(access);
        }
    }

    /// Notes a call.
    pub(super) fn call(&mut self, arguments: [Value; 2]) {
        if self.calls.len() < MAX_EVENTS {
            self.calls.push(arguments);
        }
    }
}

impl Value {
    /// The number that comparisons see. Objects are imagined far from every address of a real image.
    pub(super) fn concrete(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Field(_) => Some(0),
            Self::Pointer(place) => Some(
                (0x7100_0000_0000 + ((place.object as u64) << 32))
                    .wrapping_add_signed(place.offset),
            ),
            Self::Stack(offset) => Some(0x7ff0_0000_0000_u64.wrapping_add_signed(offset)),
            Self::Unknown => None,
        }
    }

    /// This value plus a number, keeping what it points into.
    pub(super) fn plus(self, number: i64) -> Self {
        match self {
            Self::Number(start) => Self::Number(start.wrapping_add_signed(number)),
            Self::Pointer(place) => Self::Pointer(Place {
                offset: place.offset.wrapping_add(number),
                ..place
            }),
            Self::Stack(offset) => Self::Stack(offset.wrapping_add(number)),
            Self::Field(_) if number == 0 => self,
            Self::Field(_) => Self::Number(0_u64.wrapping_add_signed(number)),
            Self::Unknown => Self::Unknown,
        }
    }
}
