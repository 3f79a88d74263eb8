//! Errors that end the observation.

use std::io;

use thiserror::Error;

use crate::host::MissingRequirement;

/// Error that ends the observation.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// This host does not meet a requirement.
    #[error(transparent)]
    Missing(#[from] MissingRequirement),
    /// The handshake sensor did not start, for this reason, and may start later.
    #[error("the handshake sensor did not start: {0}")]
    Sensor(String),
    /// The discovery thread did not start.
    #[error("failed to start the discovery thread")]
    Thread(#[source] io::Error),
    /// The recording cannot be continued.
    #[error("failed to write the recording, which ends here")]
    Record(#[source] io::Error),
}
