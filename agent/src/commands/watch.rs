//! `reprise watch`: observe and show a live table.

use std::{io, time::Duration};

use super::{
    app::{App, HttpConfig},
    cli::Watch,
    config,
    failure::Failure,
    start_up::StartUp,
};
use crate::views::watch;

/// Observes this host and shows a live table until a signal arrives or the viewer quits.
///
/// # Errors
///
/// [`Failure`].
pub fn watch(args: &Watch) -> Result<(), Failure> {
    let start_up = StartUp::begin()?;
    let access = config::access(args.web_config.as_deref())?;
    let mut config = config::config(start_up, &args.counting, &args.observing)?;
    config.http = args.listen.map(|address| HttpConfig { address, access });
    config::runtime()?.block_on(async {
        let running = App::start(config).await?;
        let (shared, shutdown) = (running.shared.clone(), running.shutdown.clone());
        let interval = Duration::from_secs(args.interval);
        let shown = running
            .run(watch::show(&shared, interval, &shutdown))
            .await?;
        match shown {
            // The reader of the output has ended.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            shown => Ok(shown?),
        }
    })
}
