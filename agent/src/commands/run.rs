//! `reprise run`: observe and serve metrics.

use super::{app::App, cli::Run, config, failure::Failure, start_up::StartUp};

/// Observes this host and serves metrics until a signal arrives.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &Run) -> Result<(), Failure> {
    let start_up = StartUp::begin()?;
    let http = config::http(args.listen, args.web_config.as_deref(), &args.allow_host)?;
    let mut config = config::config(start_up, &args.counting, &args.observing)?;
    config.http = Some(http);
    config::runtime()?.block_on(async {
        let running = App::start(config).await?;
        tracing::info!(address = %args.listen, "serving metrics");
        let shutdown = running.shutdown.clone();
        running.run(shutdown.cancelled_owned()).await?;
        Ok(())
    })
}
