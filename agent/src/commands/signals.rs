//! Signals: SIGTERM and SIGINT end the application, SIGHUP reloads the peer file.

use std::{io, path::PathBuf};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::observed::Shared;
use reprise_core::pipeline::peers::Groups;

/// Handlers of the signals.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    shared: Shared,
    peer_file: Option<PathBuf>,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    ///
    /// Error of the system.
    pub(super) fn install(shared: Shared, peer_file: Option<PathBuf>) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            shared,
            peer_file,
        })
    }

    /// Handles signals until `shutdown`, which SIGTERM and SIGINT request.
    pub(super) async fn run(mut self, shutdown: &CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => self.reload(),
            }
        }
        tracing::info!("detaching and draining");
        shutdown.cancel();
    }

    fn reload(&self) {
        let Some(path) = &self.peer_file else {
            return;
        };
        match Groups::load(path) {
            Ok(groups) => {
                self.shared.lock().pipeline.naming.groups = groups;
                tracing::info!(path = %path.display(), "peer file reloaded");
            }
            Err(error) => tracing::error!(
                reason = crate::chain(&error),
                "peer file invalid, previous one stays in use"
            ),
        }
    }
}
