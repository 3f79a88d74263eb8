//! The live table: interactive on a terminal, else one table per interval, as lines.

mod detail;
mod row;
mod services;
mod show;
mod state;
mod text;
mod view;

#[cfg(test)]
mod tests;

pub use self::{show::show, text::table};
