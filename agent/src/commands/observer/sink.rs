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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use reprise_core::pipeline::{
        correlate::Bounds,
        peers::Naming,
        stats::{Limits, Thresholds},
    };

    use super::*;

    #[test]
    fn a_recording_that_cannot_be_written_is_an_error_at_the_next_flush() {
        let limits = Limits {
            max_peers: 1,
            max_services: 1,
            max_workloads: 1,
            forget_after_ns: u64::MAX,
            forget_peers_after_ns: u64::MAX,
            window_ns: 1,
            thresholds: Thresholds {
                miss_ratio: 1.0,
                min_offers: 1,
            },
        };
        let bounds = Bounds {
            connections: 1,
            sessions: 1,
            services: 64,
        };
        let mut pipeline = Pipeline::new(limits, bounds, Naming::default());
        // Every write fails as on a full disk, full(4).
        let recorder = FileRecorder::create(Path::new("/dev/full"));
        let mut recorder = Some(recorder.unwrap());
        let mut sink = Sink::new(&mut pipeline, &mut recorder);
        sink.add(&Record::Tick(1));
        sink.with_recording(FileRecorder::flush);
        sink.with_recording(|_| panic!("written after a failure"));
        let error = sink.finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        recorder.unwrap().abandon();
    }
}
