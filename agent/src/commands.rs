//! The commands, one module each.

mod advise;
mod app;
mod check;
pub mod cli;
mod config;
mod failure;
mod inspect;
mod observer;
mod output;
mod record;
mod replay;
mod run;
mod signals;
mod start_up;
mod watch;

pub use self::{
    advise::advise, check::check, failure::Failure, inspect::inspect, record::record,
    replay::replay, run::run, watch::watch,
};
