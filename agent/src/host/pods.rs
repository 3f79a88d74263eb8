//! The pods of this node by name, from the API server, where there is a service account's token: a thread of its own asks, the
//! observer looks up. Observation never waits for it, and goes on without it: then containers have their IDs.

mod names;
mod watch;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

pub use self::names::{Names, Pod};

/// Whether the API server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PodNames {
    /// Where there is a token of a service account.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// The names, shared: written by the thread that asks, read by the observer.
#[derive(Debug, Clone, Default)]
pub struct Pods(Arc<Mutex<Names>>);

impl Pods {
    /// Held for a lookup or for taking in one answer; never across a wait.
    pub fn lock(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the pods of `node` until `shutdown`, if that is wanted and can be. Call after rights were given up: the thread has
    /// those of the one that calls.
    ///
    /// # Errors
    ///
    /// No thread could be started.
    pub fn ask(
        &self,
        wanted: PodNames,
        node: Option<&str>,
        shutdown: CancellationToken,
    ) -> io::Result<()> {
        if wanted == PodNames::Off {
            return Ok(());
        }
        let config = match watch::config() {
            Ok(config) => config,
            Err(reason) => {
                tracing::debug!(%reason, "not in a pod: containers have no names");
                return Ok(());
            }
        };
        let Some(node) = node.map(str::to_owned) else {
            tracing::warn!("pods have no names: set NODE_NAME to the name of this node");
            return Ok(());
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let pods = self.clone();
        // It ends with `shutdown`. Nobody waits for that: it holds nothing that would have to be given back.
        thread::Builder::new()
            .name("pods".to_owned())
            .spawn(move || {
                let asking = watch::forever(config, &node, &pods);
                runtime.block_on(shutdown.run_until_cancelled(asking));
                runtime.shutdown_background();
            })?;
        Ok(())
    }
}
