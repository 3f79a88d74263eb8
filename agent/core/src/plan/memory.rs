//! The imagined memory of an abstract call: objects, stack and the constants of the image.
//!
//! Owned by the abstract machine of an instruction set, which brings the registers. It lives for one call.

use std::collections::HashMap;

use super::elf::Image;
use super::isa::Call;
use super::trace::{Access, Place, Trace, Value};

/// A pointer that leads to nothing the function may read, for arguments that must not be null.
const SOMEWHERE: u64 = 0x7200_0000_0000;
/// Addresses below this are fields of an object that is not there, though the file may begin at address 0.
const NULL_PAGE: u64 = 0x1000;
/// Stack slots kept, at most: hostile code costs bounded memory.
const MAX_SLOTS: usize = 256;

/// Memory as one call sees it, and the record of what the call does to it.
#[derive(Clone)]
pub(super) struct Memory<'m, 'a> {
    image: &'m Image<'a>,
    call: Call,
    stack: HashMap<i64, Value>,
    /// What happened so far.
    pub(super) trace: Trace,
}

impl<'m, 'a> Memory<'m, 'a> {
    /// Memory before the first instruction of a call.
    pub(super) fn new(image: &'m Image<'a>, call: Call) -> Self {
        Self {
            image,
            call,
            stack: HashMap::new(),
            trace: Trace::default(),
        }
    }

    /// Arguments 0, 1 and 2 of the call.
    pub(super) fn arguments(&self) -> [Value; 3] {
        let root = Value::Pointer(Place {
            object: 0,
            offset: 0,
        });
        [
            self.call.number.map_or(root, Value::Number),
            Value::Number(self.call.command.unwrap_or(SOMEWHERE)),
            Value::Number(self.call.size),
        ]
    }

    /// What a call made returns, where that was said.
    pub(super) const fn calls_return(&self) -> Option<u64> {
        self.call.calls
    }

    /// What was said to be at `place`.
    fn given(&self, place: Place) -> Option<Value> {
        let mut given = self.call.given.iter().flatten().peekable();
        given.peek()?;
        let field = self.trace.field(place)?;
        given
            .find(|given| given.field.bits(field.mask) == field)
            .map(|given| Value::Number(given.value))
    }

    /// A word of an object of which a part is used: no pointer, but a number (`s->s3->flags & TLS1_FLAGS_STATELESS`).
    pub(super) fn narrowed(&self, word: Value) -> Value {
        self.trace.source(word).map_or(Value::Unknown, Value::Field)
    }

    /// Reads memory.
    pub(super) fn load(&mut self, address: Value, size: usize) -> Value {
        match address {
            Value::Pointer(place) => {
                let value = match size {
                    1..=8 if let Some(given) = self.given(place) => given,
                    8 if !self.call.null_pointers => self
                        .trace
                        .object_at(place)
                        .map_or(Value::Unknown, |object| {
                            Value::Pointer(Place { object, offset: 0 })
                        }),
                    0..=8 => Value::Field(place),
                    _ => Value::Unknown,
                };
                self.trace.read(Access { place, size, value });
                value
            }
            Value::Number(..NULL_PAGE) => Value::Unknown,
            Value::Number(address) => self
                .image
                .constant(address, size)
                .map_or(Value::Unknown, Value::Number),
            Value::Stack(offset) => self.stack.get(&offset).copied().unwrap_or(Value::Unknown),
            Value::Field(_) | Value::Unknown => Value::Unknown,
        }
    }

    /// Writes memory.
    pub(super) fn store(&mut self, address: Value, size: usize, value: Value) {
        match address {
            Value::Pointer(place) => self.trace.write(Access { place, size, value }),
            Value::Stack(offset) => {
                if self.stack.len() < MAX_SLOTS || self.stack.contains_key(&offset) {
                    self.stack.insert(offset, value);
                }
            }
            Value::Number(_) | Value::Field(_) | Value::Unknown => {}
        }
    }
}
