//! `reprise replay`: a recorded stream through the very pipeline that runs live.

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

/// Replays a recording; the result can be rendered as any live observation can.
///
/// # Errors
///
/// [`RecordError`] where nothing can be read. A recording that was cut short is replayed as far as it goes, with a warning.
pub fn replay<R: std::io::Read>(
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
                tracing::warn!(reason = %error, "replaying what came before");
                break;
            }
            Err(error) => return Err(error),
        }
    }
    pipeline.finish();
    Ok(Observed { pipeline, status })
}

/// The table, or the metrics page.
#[must_use]
pub fn render(observed: Observed, metrics: bool) -> String {
    if metrics {
        Page::new(Shared::new(observed), false)
            .render(Format::Prometheus)
            .unwrap_or_default()
    } else {
        watch::table(&observed, usize::MAX)
    }
}
