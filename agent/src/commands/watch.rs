//! `reprise watch`: observe and show a live table.

use std::time::Duration;

use super::{app::App, cli::Watch, config, failure::Failure, output, start_up::StartUp};
use crate::views::watch;

/// Observes this host and shows a live table until a signal arrives or the viewer quits.
///
/// # Errors
///
/// [`Failure`].
pub fn watch(args: &Watch) -> Result<(), Failure> {
    let start_up = StartUp::begin()?;
    let http = args
        .listen
        .map(|address| config::http(address, args.web_config.as_deref(), &args.allow_host));
    let http = http.transpose()?;
    let mut config = config::config(start_up, &args.counting, &args.observing)?;
    config.http = http;
    config::runtime()?.block_on(async {
        let running = App::start(config).await?;
        let (shared, shutdown) = (running.shared.clone(), running.shutdown.clone());
        let interval = Duration::from_secs(args.interval);
        let shown = running
            .run(watch::show(&shared, interval, &shutdown))
            .await?;
        output::finish(shown)
    })
}
