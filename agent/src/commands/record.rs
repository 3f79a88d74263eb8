//! `reprise record`: write the event stream to a file.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use tokio::time::sleep;

use super::{app::App, cli::Record, config, failure::Failure, output, start_up::StartUp};
use crate::{record::Recorder, views::watch};

/// Observes this host and records the event stream until a signal arrives or the time is over.
///
/// # Errors
///
/// [`Failure`].
pub fn record(args: &Record) -> Result<(), Failure> {
    let start_up = StartUp::begin()?;
    let mut config = config::config(start_up, &args.counting, &args.observing)?;
    let mut recorder = Recorder::create(&args.output)
        .map_err(|error| Failure::Usage(format!("--output: {}", crate::chain(&error))))?;
    // A signal that ends the start-up leaves a complete recording without events.
    recorder.flush()?;
    config.recorder = Some(recorder);
    config::runtime()?.block_on(async {
        let running = App::start(config).await?;
        let (shared, shutdown) = (running.shared.clone(), running.shutdown.clone());
        let wait = async {
            match args.seconds {
                Some(seconds) => {
                    let limit = sleep(Duration::from_secs(seconds));
                    shutdown.run_until_cancelled(limit).await;
                }
                None => shutdown.cancelled().await,
            }
        };
        running.run(wait).await?;
        let table = watch::table(&shared.lock(), usize::MAX);
        output::finish(io::stdout().write_all(table.as_bytes()))
    })
}
