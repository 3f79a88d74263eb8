//! What changed, and when, with the hit ratio before and after: the cause of a dip stands beside
//! it. Pure and bounded.

mod list;
mod offers;

pub use self::{
    list::{Changes, RecordedChange},
    offers::Hits,
};
