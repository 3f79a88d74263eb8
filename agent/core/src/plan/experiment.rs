//! Experiments with an accessor: they find the content of memory that changes its result.
//!
//! BoringSSL's accessors return single bits, the presence of an object, or a number that they
//! compare first, so the place that a result was read from does not show its meaning. An experiment
//! has a result only where exactly one place has the effect.

use super::elf::Image;
use super::field::Field;
use super::isa::{Call, Isa, Preset};
use super::trace::Trace;

/// Limit of places tried.
const MAX_PLACES: usize = 8;
/// Versions on the wire, and values of `rwstate`, that accessors return unchanged.
pub(super) const VERSIONS: [u64; 2] = [0x0303, 0x0304];
pub(super) const WANTS: [u64; 2] = [2, 3];

/// An accessor, and the memory that all its runs see.
#[derive(Clone, Copy)]
pub(super) struct Experiment<'e, 'a> {
    isa: &'e dyn Isa,
    image: &'e Image<'a>,
    function: u64,
    constant: Option<Preset>,
}

impl<'e, 'a> Experiment<'e, 'a> {
    /// Creates an experiment with the function of that name; `None` where it is missing.
    pub(super) fn with_accessor(
        isa: &'e dyn Isa,
        image: &'e Image<'a>,
        function: &str,
    ) -> Option<Self> {
        Some(Self {
            isa,
            image,
            function: image.symbol(function)?,
            constant: None,
        })
    }

    /// Sets a content of memory that all runs see.
    pub(super) const fn with_constant(self, constant: Preset) -> Self {
        Self {
            constant: Some(constant),
            ..self
        }
    }

    /// Runs the accessor once. Functions that it calls return 0.
    pub(super) fn run(&self, preset: Option<Preset>) -> Trace {
        let call = Call {
            presets: [self.constant, preset],
            call_result: Some(0),
            ..Call::default()
        };
        self.isa.interpret(self.image, self.function, call)
    }

    fn result(&self, preset: Option<Preset>) -> Option<u32> {
        let returned = self.run(preset).returned?.concrete()?;
        Some(returned as u32)
    }

    /// Places that it reads, each with the number of bytes.
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

    /// Finds the pointer that is not null when the result is 1, and null when it is 0.
    pub(super) fn find_pointer(&self) -> Option<Field> {
        if self.result(None)? != 1 {
            return None;
        }
        let pointers = self.reads().into_iter().filter(|(_, size)| *size == 8);
        let fields = pointers.map(|(field, _)| field);
        only(fields.filter(|field| {
            let null = Preset {
                field: *field,
                value: 0,
            };
            self.result(Some(null)) == Some(0)
        }))
    }

    /// Finds the bit that makes the result 1 instead of 0.
    pub(super) fn find_bit(&self) -> Option<Field> {
        if self.result(None)? != 0 {
            return None;
        }
        let places = self.reads().into_iter().filter(|(_, size)| *size <= 4);
        let bits = places
            .flat_map(|(field, size)| (0..size as u32 * 8).map(move |bit| field.bits(1 << bit)));
        only(bits.filter(|bit| {
            let set = Preset {
                field: *bit,
                value: u64::from(bit.mask),
            };
            self.result(Some(set)) == Some(1)
        }))
    }

    /// Finds the number that is returned unchanged, for each of these values.
    pub(super) fn find_number(&self, values: &[u64]) -> Option<Field> {
        let places = self
            .reads()
            .into_iter()
            .filter(|(_, size)| matches!(size, 2 | 4));
        let returned = |field: Field| {
            values.iter().all(|value| {
                let preset = Preset {
                    field,
                    value: *value,
                };
                self.result(Some(preset)).map(u64::from) == Some(*value)
            })
        };
        let found = only(places.filter(|(field, _)| returned(*field)))?;
        Some(match found {
            (field, 2) => field.bits(0xffff),
            (field, _) => field,
        })
    }
}

/// The only item of an iterator.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    all.next().filter(|_| all.next().is_none())
}
