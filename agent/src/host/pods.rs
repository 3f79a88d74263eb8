//! Pods of this node, from the API server, if there is a service account token. A separate thread
//! watches the API server and the observer looks names up. Observation never waits for them;
//! without names, containers are identified by their IDs.

mod object;
mod table;
mod watch;

use std::{io, thread};

use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

pub(crate) use self::table::Pods;

/// Value of `--pod-names`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PodNames {
    /// Where there is a token of a service account.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// Starts a thread that keeps `pods` up to date with the pods of `node` until `shutdown`, if
/// requested and possible. Must run after capabilities were dropped, because the thread inherits
/// those of its creator.
///
/// # Errors
///
/// No thread could be started.
pub(crate) fn start_watch(
    pods: &Pods,
    requested: PodNames,
    node: Option<&str>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    if requested == PodNames::Off {
        return Ok(());
    }
    let config = match watch::config() {
        Ok(config) => config,
        Err(reason) => {
            tracing::debug!(%reason, "no service account, pod names not available");
            return Ok(());
        }
    };
    let Some(node) = node.map(str::to_owned) else {
        tracing::warn!("NODE_NAME is not set, pod names not available");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let pods = pods.clone();
    // The thread ends at `shutdown`. It is not joined because it holds nothing to release.
    thread::Builder::new()
        .name("pods".to_owned())
        .spawn(move || {
            let watching = watch::watch_forever(config, &node, &pods);
            runtime.block_on(shutdown.run_until_cancelled(watching));
            runtime.shutdown_background();
        })?;
    Ok(())
}
