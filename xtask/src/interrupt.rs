//! Ctrl-C and the other signals that end a command.
//!
//! The handler only sets a flag, so that the commands clean up before they exit.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};

/// Set by the signal handler, read by the loops of the commands.
static RECEIVED: AtomicBool = AtomicBool::new(false);

/// Installs the handler for SIGINT, SIGTERM and SIGHUP.
pub(crate) fn install() -> Result<()> {
    ctrlc::set_handler(|| RECEIVED.store(true, Ordering::Relaxed))
        .context("failed to install the signal handler")
}

/// Whether one of the signals was received.
pub(crate) fn received() -> bool {
    RECEIVED.load(Ordering::Relaxed)
}
