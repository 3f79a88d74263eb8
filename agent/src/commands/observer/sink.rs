//! Where events go: to the pipeline and, as they are, to the recording.

use std::io;

use crate::record::FileRecorder;
use reprise_core::pipeline::{Pipeline, record::Record};

/// See the module.
pub(super) struct Sink<'a> {
    pub(super) pipeline: &'a mut Pipeline,
    pub(super) recording: &'a mut Option<FileRecorder>,
    /// The first error of the recording.
    failed: Option<io::Error>,
}

impl<'a> Sink<'a> {
    pub(super) const fn new(
        pipeline: &'a mut Pipeline,
        recording: &'a mut Option<FileRecorder>,
    ) -> Self {
        Self {
            pipeline,
            recording,
            failed: None,
        }
    }

    /// Takes an event.
    pub(super) fn pass(&mut self, event: &Record) {
        self.pipeline.push(event);
        self.record(|recording| recording.event(event.bytes()));
    }

    /// Does something with the recording, if there is one.
    pub(super) fn record(&mut self, act: impl FnOnce(&mut FileRecorder) -> io::Result<()>) {
        if let Some(recording) = self.recording
            && let Err(error) = act(recording)
        {
            self.failed.get_or_insert(error);
        }
    }

    /// What became of the recording.
    pub(super) fn end(self) -> io::Result<()> {
        self.failed.map_or(Ok(()), Err)
    }
}
