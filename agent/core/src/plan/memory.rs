//! The memory of an abstract run: symbolic objects, the stack, and the constants of the image.
//!
//! Owned by the abstract machine of an instruction set, which adds the registers.

use std::collections::HashMap;

use super::elf::Image;
use super::isa::Call;
use super::trace::{Access, Place, Trace, Value};

/// A non-null pointer to nothing that the function may read, for arguments that must not be null.
const SOMEWHERE: u64 = 0x7200_0000_0000;
/// Addresses below this are fields behind a null pointer, though the file may begin at address 0.
const NULL_PAGE: u64 = 0x1000;
/// Limit of stack slots, which bounds the memory that hostile code costs.
const MAX_SLOTS: usize = 256;
/// Work of one access, of one object that it is compared with, and of one slot or event that is
/// copied, units.
const ACCESS: u64 = 40;
const OBJECT: u64 = 1;
const COPY: u64 = 10;

/// Memory as one run sees it, and the record of its accesses.
#[derive(Clone)]
pub(super) struct Memory<'m, 'a> {
    image: &'m Image<'a>,
    call: Call,
    stack: HashMap<i64, Value>,
    /// Record of the run so far.
    pub(super) trace: Trace,
}

impl<'m, 'a> Memory<'m, 'a> {
    /// Creates the memory before the first instruction of a run.
    pub(super) fn new(image: &'m Image<'a>, call: Call) -> Self {
        Self {
            image,
            call,
            stack: HashMap::new(),
            trace: Trace::default(),
        }
    }

    /// Returns arguments 0, 1 and 2 of the run.
    pub(super) fn arguments(&self) -> [Value; 3] {
        let root = Value::Pointer(Place {
            object: 0,
            offset: 0,
        });
        [
            self.call.first_argument.map_or(root, Value::Number),
            Value::Number(self.call.second_argument.unwrap_or(SOMEWHERE)),
            Value::Number(self.call.third_argument),
        ]
    }

    /// Returns the result of functions that are called, where it is set.
    pub(super) const fn call_result(&self) -> Option<u64> {
        self.call.call_result
    }

    /// Charges a copy of this memory; returns whether more may be done.
    pub(super) fn charge_copy(&self) -> bool {
        let parts = self.stack.len() + self.trace.size();
        self.image.charge(ACCESS + parts as u64 * COPY)
    }

    /// Returns the preset content of `place`.
    fn preset(&self, place: Place) -> Option<Value> {
        let mut presets = self.call.presets.iter().flatten().peekable();
        presets.peek()?;
        let field = self.trace.field(place)?;
        presets
            .find(|preset| preset.field.bits(field.mask) == field)
            .map(|preset| Value::Number(preset.value))
    }

    /// Returns the value of a part of an object's word: the word is then a number, not a pointer
    /// (`s->s3->flags & TLS1_FLAGS_STATELESS`).
    pub(super) fn narrowed(&self, word: Value) -> Value {
        self.trace.source(word).map_or(Value::Unknown, Value::Field)
    }

    /// Reads memory.
    pub(super) fn load(&mut self, address: Value, size: usize) -> Value {
        let objects = self.trace.objects() as u64;
        if !self.image.charge(ACCESS + objects * OBJECT) {
            return Value::Unknown;
        }
        match address {
            Value::Pointer(place) => {
                let value = match size {
                    1..=8 if let Some(preset) = self.preset(place) => preset,
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
