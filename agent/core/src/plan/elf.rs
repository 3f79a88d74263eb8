//! A bounded view of one ELF file: what the rest of the planner reads of it, by virtual address.
//!
//! The only reader of the file. It checks every offset and size that the file states, and ignores
//! symbols that no plan needs, so that a hundred-megabyte executable is cheap.

mod image;
mod parse;
mod search;
mod tables;
mod unwind;

pub(super) use image::{Image, Tables};
pub(super) use tables::NO_RETURN;
