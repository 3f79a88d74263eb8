//! Ctrl-C: remembered, so that demo and bench end by their own way and clean up.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Written by the signal handler, read by the loops of demo and bench.
static SEEN: AtomicBool = AtomicBool::new(false);

extern "C" fn remember(_: nix::libc::c_int) {
    SEEN.store(true, Ordering::Relaxed);
}

/// Replaces the default, which would end this program before it cleaned up.
pub(crate) fn install() -> Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(remember),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe, and no handler
        // that others rely on is replaced: this program installs none besides.
        unsafe { sigaction(signal, &action) }
            .with_context(|| format!("failed to handle {signal}"))?;
    }
    Ok(())
}

/// Whether one of the signals came.
pub(crate) fn seen() -> bool {
    SEEN.load(Ordering::Relaxed)
}
