//! `reprise replay`: a recorded stream through the pipeline that runs in production.

use std::io::Read;

use super::{cli::Replay, config, failure::Failure};
use crate::{
    observed::{Observed, Shared},
    record::{Frame, RecordError, Recording},
    status::Status,
    views::{
        metrics::{Format, Page},
        watch,
    },
};
use reprise_core::pipeline::Pipeline;

/// Replays a recording and prints the table or the metrics page.
///
/// # Errors
///
/// [`Failure`].
pub fn replay(args: &Replay) -> Result<(), Failure> {
    let pipeline = config::pipeline(&args.counting)?;
    let mut recording =
        Recording::open(&args.file).map_err(|error| Failure::Usage(crate::chain(&error)))?;
    let observed = observe(&mut recording, pipeline).map_err(|error| {
        Failure::Runtime(format!("{}: {}", args.file.display(), crate::chain(&error)))
    })?;
    print!("{}", render(observed, args.metrics));
    Ok(())
}

/// Replays a recording. One that is cut short is replayed up to that point, with a warning.
fn observe<R: Read>(
    recording: &mut Recording<R>,
    mut pipeline: Pipeline,
) -> Result<Observed, RecordError> {
    let mut status = Status::default();
    loop {
        match recording.next_frame() {
            Ok(Some(Frame::Event(event))) => pipeline.push(&event),
            Ok(Some(Frame::Status(newer))) => status = *newer,
            Ok(None) => break,
            Err(error @ RecordError::Truncated { .. }) => {
                tracing::warn!(reason = %error, "recording cut short, replaying its beginning");
                break;
            }
            Err(error) => return Err(error),
        }
    }
    pipeline.finish();
    Ok(Observed { pipeline, status })
}

fn render(observed: Observed, metrics: bool) -> String {
    if metrics {
        Page::new(Shared::new(observed), false)
            .render(Format::Prometheus)
            .unwrap_or_default()
    } else {
        watch::table(&observed, usize::MAX)
    }
}
