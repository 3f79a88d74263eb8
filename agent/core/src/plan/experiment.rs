//! Experiments with an accessor: what must memory hold for it to return something else?
//!
//! Called by `boringssl`, whose accessors return single bits, the presence of an object, or a number that they compare first: there the
//! place that a result was read from is not enough to know what it means. An answer is given only where exactly one place has the effect.

use super::Field;
use super::elf::Image;
use super::isa::{Call, Given, Isa};
use super::trace::Trace;

/// Places tried, at most.
const MAX_PLACES: usize = 8;
/// Versions on the wire, and values of `rwstate`, that are returned as they are.
pub(super) const VERSIONS: [u64; 2] = [0x0303, 0x0304];
pub(super) const WANTS: [u64; 2] = [2, 3];

/// An accessor, and what is taken for granted.
#[derive(Clone, Copy)]
pub(super) struct Experiment<'e, 'a> {
    isa: &'e dyn Isa,
    image: &'e Image<'a>,
    function: u64,
    always: Option<Given>,
}

impl<'e, 'a> Experiment<'e, 'a> {
    /// With the function of that name; `None` where it is not there.
    pub(super) fn with(isa: &'e dyn Isa, image: &'e Image<'a>, function: &str) -> Option<Self> {
        Some(Self {
            isa,
            image,
            function: image.symbol(function)?,
            always: None,
        })
    }

    /// The same, with this in memory each time.
    pub(super) const fn given(self, always: Given) -> Self {
        Self {
            always: Some(always),
            ..self
        }
    }

    /// One run. Other accessors that it calls say no.
    pub(super) fn run(&self, given: Option<Given>) -> Trace {
        let call = Call {
            given: [self.always, given],
            calls: Some(0),
            ..Call::default()
        };
        self.isa.call(self.image, self.function, call)
    }

    fn result(&self, given: Option<Given>) -> Option<u32> {
        let returned = self.run(given).returned?.concrete()?;
        Some(returned as u32)
    }

    /// Places that it reads: each with the bytes read.
    fn reads(&self) -> Vec<(Field, usize)> {
        let trace = self.run(None);
        let mut reads: Vec<(Field, usize)> = Vec::new();
        for read in &trace.reads {
            if let Some(field) = trace.field(read.place)
                && !reads.contains(&(field, read.size))
                && reads.len() < MAX_PLACES
            {
                reads.push((field, read.size));
            }
        }
        reads
    }

    /// The pointer that is not null when the result is 1, and null when it is 0.
    pub(super) fn presence(&self) -> Option<Field> {
        if self.result(None)? != 1 {
            return None;
        }
        let pointers = self.reads().into_iter().filter(|(_, size)| *size == 8);
        let fields = pointers.map(|(field, _)| field);
        only(fields.filter(|field| {
            let null = Given {
                field: *field,
                value: 0,
            };
            self.result(Some(null)) == Some(0)
        }))
    }

    /// The bit that makes the result 1 instead of 0.
    pub(super) fn bit(&self) -> Option<Field> {
        if self.result(None)? != 0 {
            return None;
        }
        let places = self.reads().into_iter().filter(|(_, size)| *size <= 4);
        let bits = places
            .flat_map(|(field, size)| (0..size as u32 * 8).map(move |bit| field.bits(1 << bit)));
        only(bits.filter(|bit| {
            let set = Given {
                field: *bit,
                value: u64::from(bit.mask),
            };
            self.result(Some(set)) == Some(1)
        }))
    }

    /// The number that is returned as it is, for each of these values.
    pub(super) fn number(&self, values: &[u64]) -> Option<Field> {
        let places = self
            .reads()
            .into_iter()
            .filter(|(_, size)| matches!(size, 2 | 4));
        let returned = |field: Field| {
            values.iter().all(|value| {
                let given = Given {
                    field,
                    value: *value,
                };
                self.result(Some(given)).map(u64::from) == Some(*value)
            })
        };
        let found = only(places.filter(|(field, _)| returned(*field)))?;
        Some(match found {
            (field, 2) => field.bits(0xffff),
            (field, _) => field,
        })
    }
}

/// The only one.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    all.next().filter(|_| all.next().is_none())
}
