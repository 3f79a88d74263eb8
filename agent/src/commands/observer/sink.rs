//! Destination of records: the pipeline, and the recording if there is one.

use std::io;

use crate::record::FileRecorder;
use reprise_core::pipeline::{Pipeline, record::Record};

/// Destination of records.
pub(super) struct Sink<'a> {
    pub(super) pipeline: &'a mut Pipeline,
    recording: &'a mut Option<FileRecorder>,
    /// First error of the recording.
    error: Option<io::Error>,
}

impl<'a> Sink<'a> {
    pub(super) const fn new(
        pipeline: &'a mut Pipeline,
        recording: &'a mut Option<FileRecorder>,
    ) -> Self {
        Self {
            pipeline,
            recording,
            error: None,
        }
    }

    /// Adds a record.
    pub(super) fn add(&mut self, record: &Record) {
        self.pipeline.push(record);
        self.with_recording(|recording| recording.event(record.bytes()));
    }

    /// Calls `write` with the recording, if there is one and it has not failed.
    pub(super) fn with_recording(
        &mut self,
        write: impl FnOnce(&mut FileRecorder) -> io::Result<()>,
    ) {
        if self.error.is_none()
            && let Some(recording) = self.recording
            && let Err(error) = write(recording)
        {
            self.error = Some(error);
        }
    }

    /// Result of the recording.
    pub(super) fn finish(self) -> io::Result<()> {
        self.error.map_or(Ok(()), Err)
    }
}
