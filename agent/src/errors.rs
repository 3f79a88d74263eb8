//! Formats an error with all its sources.

use std::{error::Error, fmt::Write as _};

/// An error and its sources on one line, separated by colons.
#[must_use]
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let _ = write!(text, ": {source}");
        next = source.source();
    }
    text
}
