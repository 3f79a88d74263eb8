//! The record of an abstract run: values with their provenance, and the reads, writes and calls.
//!
//! Filled by the abstract machines, read by the modules that decode fields.

use super::field::{Field, MAX_POINTERS};

/// Upper bound of plausible offsets in a connection object; the largest known is about 0x1a00.
const MAX_OFFSET: i64 = 0x1_0000;
/// Limit of symbolic objects in one run.
const MAX_OBJECTS: usize = 256;
/// Limit of reads, of writes and of calls that are recorded of one run.
const MAX_EVENTS: usize = 4096;

/// A symbolic object: 0 is the one passed as argument, every other is the target of a pointer in
/// another object.
pub(super) type Object = usize;

/// A place in a symbolic object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The object.
    pub(super) object: Object,
    /// Offset in it, bytes.
    pub(super) offset: i64,
}

impl Place {
    /// Offset of a place in the root object, if it is plausible.
    pub(super) fn in_root(self) -> Option<u32> {
        (self.object == 0).then(|| plausible_offset(self.offset))?
    }
}

/// Converts an offset, if it is plausible.
fn plausible_offset(offset: i64) -> Option<u32> {
    (0..MAX_OFFSET)
        .contains(&offset)
        .then(|| u32::try_from(offset).ok())?
}

/// Content of a register or a stack slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// A number: a constant, or an address in the image.
    Number(u64),
    /// A pointer to a place in a symbolic object; never null.
    Pointer(Place),
    /// The content of a place: the number zero, with its provenance.
    Field(Place),
    /// The stack pointer at entry plus this.
    Stack(i64),
    /// Not known.
    Unknown,
}

/// One read or write of a symbolic object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    /// Place of its first byte.
    pub(super) place: Place,
    /// Size, bytes.
    pub(super) size: usize,
    /// Value read or written.
    pub(super) value: Value,
}

/// The record of one abstract run.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    /// For each object but the root, the place its pointer was read from: object `n` is at index
    /// `n - 1`.
    origins: Vec<Place>,
    /// Reads of symbolic objects, in order.
    pub(super) reads: Vec<Access>,
    /// Writes to symbolic objects, in order.
    pub(super) writes: Vec<Access>,
    /// Arguments 0 and 1 of every call made.
    pub(super) calls: Vec<[Value; 2]>,
    /// Result of the function; `None` where it was not followed to its end.
    pub(super) returned: Option<Value>,
}

impl Trace {
    /// Returns the object that the pointer at `place` leads to, the same one each time; `None` at
    /// the limit of objects.
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

    /// Returns the number of objects but the root.
    pub(super) const fn objects(&self) -> usize {
        self.origins.len()
    }

    /// Returns the number of objects, reads, writes and calls.
    pub(super) const fn size(&self) -> usize {
        self.origins.len() + self.reads.len() + self.writes.len() + self.calls.len()
    }

    /// Returns the place that the pointer to an object was read from; `None` for the root.
    pub(super) fn origin(&self, object: Object) -> Option<Place> {
        self.origins.get(object.checked_sub(1)?).copied()
    }

    /// Returns the path to a place from the root object, unless it has too many pointers or an
    /// implausible offset.
    pub(super) fn field(&self, place: Place) -> Option<Field> {
        let mut through = [None; MAX_POINTERS];
        let mut object = place.object;
        while let Some(origin) = self.origin(object) {
            through.rotate_right(1);
            let first = through.first_mut()?;
            if first.is_some() {
                return None;
            }
            *first = Some(plausible_offset(origin.offset)?);
            object = origin.object;
        }
        Some(Field {
            through,
            ..Field::direct(plausible_offset(place.offset)?)
        })
    }

    /// Returns the place that a number or a pointer was read from.
    pub(super) fn source(&self, value: Value) -> Option<Place> {
        match value {
            Value::Field(place) => Some(place),
            Value::Pointer(Place { object, offset: 0 }) => self.origin(object),
            _ => None,
        }
    }

    /// Records a read.
    pub(super) fn read(&mut self, access: Access) {
        if self.reads.len() < MAX_EVENTS {
            self.reads.push(access);
        }
    }

    /// Records a write.
    pub(super) fn write(&mut self, access: Access) {
        if self.writes.len() < MAX_EVENTS {
            self.writes.push(access);
        }
    }

    /// Records a call.
    pub(super) fn call(&mut self, arguments: [Value; 2]) {
        if self.calls.len() < MAX_EVENTS {
            self.calls.push(arguments);
        }
    }
}

impl Value {
    /// Returns the number that comparisons see. Symbolic objects are far from every address of a
    /// real image.
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

    /// Adds a number; a pointer stays in its object.
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
