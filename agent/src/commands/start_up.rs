//! Signals during start-up. Loading the programs takes seconds in the kernel, where no task of this
//! process could handle a signal.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// Exit status of a process that is asked to end.
const ASKED_TO_END: i32 = 0;

/// The start-up of the process: SIGTERM and SIGINT end it at once, SIGHUP waits until it is over.
/// The kernel removes what was loaded and attached until then.
#[derive(Debug)]
pub(super) struct StartUp {
    is_running: Arc<AtomicBool>,
}

impl StartUp {
    /// Begins the start-up; must be the first action of a command. Threads that start until
    /// [`Self::finish`] never handle SIGHUP.
    ///
    /// # Errors
    ///
    /// Error of the system.
    pub(super) fn begin() -> io::Result<Self> {
        let is_running = Arc::new(AtomicBool::new(true));
        for signal in [SIGTERM, SIGINT] {
            flag::register_conditional_shutdown(signal, ASKED_TO_END, is_running.clone())?;
        }
        // A pending signal would interrupt the verifier.
        reload_signal().thread_block()?;
        Ok(Self { is_running })
    }

    /// Ends the start-up. The handlers of the running application must be installed.
    ///
    /// # Errors
    ///
    /// Error of the system.
    pub(super) fn finish(self) -> io::Result<()> {
        self.is_running.store(false, Ordering::SeqCst);
        Ok(reload_signal().thread_unblock()?)
    }
}

fn reload_signal() -> SigSet {
    SigSet::from(Signal::SIGHUP)
}
