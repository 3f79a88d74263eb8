//! The work that one file may cost, counted in steps instead of time, so that the decision about a
//! file is the same on every machine.
//!
//! Everything that reads a file or walks its code charges its work. Once the budget is exhausted,
//! reads fail, so that every loop ends, and the file is refused.

use std::{cell::Cell, rc::Rc};

/// Limit of the work for one file, units. A unit takes about a nanosecond in an optimised build.
/// The largest known libraries, in Node.js, need 150 million.
pub const MAX_WORK: u64 = 400_000_000;

/// Work done for one file, or for the two files of one plan. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(super) struct Work(Rc<Count>);

#[derive(Debug, Default)]
struct Count {
    units: Cell<u64>,
    is_expired: Cell<bool>,
}

/// The budget that was exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exhausted {
    /// [`MAX_WORK`].
    Work,
    /// The time that the caller allows.
    Time,
}

impl Work {
    /// Adds work; returns whether more may be done.
    pub(super) fn charge(&self, units: u64) -> bool {
        if self.exhausted().is_some() {
            return false;
        }
        self.0.units.set(self.units().saturating_add(units));
        self.exhausted().is_none()
    }

    /// Ends all work because the time is over.
    pub(super) fn expire(&self) {
        self.0.is_expired.set(true);
    }

    /// Returns the units that were charged.
    pub(super) fn units(&self) -> u64 {
        self.0.units.get()
    }

    /// Returns the budget that was exhausted; `None` while more work may be done.
    pub(super) fn exhausted(&self) -> Option<Exhausted> {
        if self.0.is_expired.get() {
            return Some(Exhausted::Time);
        }
        (self.units() > MAX_WORK).then_some(Exhausted::Work)
    }
}
