//! Changes of services and of the host, and when each took effect, with the hit ratio before and
//! after: the likely cause of a drop is shown beside it. Pure and bounded.

mod list;
mod offers;

pub use self::{
    list::{Changes, RecordedChange},
    offers::Hits,
};
