//! Errors in a web configuration file.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Error in a web configuration file.
#[derive(Debug, Error)]
pub enum WebConfigError {
    /// The file cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The file is not a web configuration file.
    #[error("{}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Error of the parser, with line and column.
        reason: String,
    },
    /// A value is invalid, or the file that it names cannot be used.
    #[error("{}: line {line}: {key}: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Key of the value.
        key: String,
        /// What is wrong with the value.
        reason: String,
    },
}
