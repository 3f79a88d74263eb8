//! Recordings: the raw event stream in a file. The file starts with a magic line, followed by
//! frames of length (u32, little endian), tag and payload.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use reprise_ebpf::Header;
use thiserror::Error;
use zerocopy::IntoBytes as _;

use crate::status::Status;
use reprise_core::pipeline::{
    decode::DecodeError,
    record::{Record, TICK},
};

const MAGIC: &[u8] = b"reprise recording 3\n";
/// Tag of a frame with one event in the layout of the ABI.
const TAG_EVENT: u8 = b'E';
/// Tag of a frame with a [`Status`] as JSON.
const TAG_STATUS: u8 = b'S';
/// Maximum payload size, bytes; a larger frame is invalid.
const MAX_FRAME: u32 = 16 << 20;

/// One frame of a recording.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every frame is an event: boxing it would cost an allocation each"
)]
pub enum Frame {
    /// An event.
    Event(Record),
    /// The agent's status from this frame on.
    Status(Box<Status>),
}

/// Failure to read or write a recording.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file cannot be opened or created.
    #[error("failed to use recording {}", path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The file does not start with the magic line.
    #[error("{} is not a recording of this version", .0.display())]
    Magic(PathBuf),
    /// A frame is invalid.
    #[error("recording is damaged at byte {at}: {what}")]
    Damaged {
        /// Offset of the frame.
        at: u64,
        /// Description of the fault.
        what: String,
    },
    /// The file ends inside a frame; all frames before are complete.
    #[error("recording ends inside a frame at byte {at}")]
    Truncated {
        /// Offset of the frame.
        at: u64,
    },
}

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder<W: Write>(W);

/// A recorder that writes a file.
pub type FileRecorder = Recorder<BufWriter<File>>;

impl FileRecorder {
    /// Creates the file, replacing an existing one.
    ///
    /// # Errors
    ///
    /// [`RecordError::Io`] with the path of the file.
    pub fn create(path: &Path) -> Result<Self, RecordError> {
        File::create(path)
            .and_then(|file| Self::new(BufWriter::new(file)))
            .map_err(|source| RecordError::Io {
                path: path.to_owned(),
                source,
            })
    }
}

impl FileRecorder {
    /// Ends a recording that could not be written: writes nothing more, so that the file ends
    /// inside a frame at worst and can be replayed up to there.
    pub fn abandon(self) {
        // Dropping the writer would flush the rest of its buffer, without the bytes it rejected.
        let _ = self.0.into_parts();
    }
}

impl<W: Write> Recorder<W> {
    /// Starts a recording on `sink`.
    ///
    /// # Errors
    ///
    /// The error of the sink.
    pub fn new(mut sink: W) -> io::Result<Self> {
        sink.write_all(MAGIC)?;
        Ok(Self(sink))
    }

    /// Appends an event in the layout of the ABI.
    ///
    /// # Errors
    ///
    /// The error of the sink.
    pub fn event(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frame(TAG_EVENT, bytes)
    }

    /// Appends a tick at `time_ns`, nanoseconds of `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    ///
    /// The error of the sink.
    pub fn tick(&mut self, time_ns: u64) -> io::Result<()> {
        let header = Header {
            kind: TICK,
            size: size_of::<Header>() as u32,
            time_ns,
        };
        self.frame(TAG_EVENT, header.as_bytes())
    }

    /// Appends the agent's status.
    ///
    /// # Errors
    ///
    /// The error of the sink.
    pub fn status(&mut self, status: &Status) -> io::Result<()> {
        self.frame(TAG_STATUS, &serde_json::to_vec(status)?)
    }

    /// Returns the sink with everything appended so far.
    pub fn into_inner(self) -> W {
        self.0
    }

    /// Writes buffered frames to the system.
    ///
    /// # Errors
    ///
    /// The error of the sink.
    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn frame(&mut self, tag: u8, payload: &[u8]) -> io::Result<()> {
        self.0.write_all(&(payload.len() as u32).to_le_bytes())?;
        self.0.write_all(&[tag])?;
        self.0.write_all(payload)
    }
}

/// Reads a recording.
#[derive(Debug)]
pub struct Recording<R: Read> {
    source: R,
    at: u64,
    payload: Vec<u8>,
}

impl Recording<BufReader<File>> {
    /// Opens a recording.
    ///
    /// # Errors
    ///
    /// [`RecordError`] with the path of the file.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let file = File::open(path).map_err(|source| RecordError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::new(BufReader::new(file)).ok_or_else(|| RecordError::Magic(path.to_owned()))
    }
}

impl<R: Read> Recording<R> {
    /// Reads a recording from `source`; `None` if it does not start with the magic line.
    pub fn new(mut source: R) -> Option<Self> {
        let mut magic = [0; MAGIC.len()];
        source.read_exact(&mut magic).ok()?;
        (magic == MAGIC).then_some(Self {
            source,
            at: MAGIC.len() as u64,
            payload: Vec::new(),
        })
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`RecordError::Damaged`] and [`RecordError::Truncated`]; no frame after either can be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, RecordError> {
        let at = self.at;
        let mut head = [0; 5];
        match fill(&mut self.source, &mut head) {
            Ok(0) => return Ok(None),
            Ok(5) => {}
            _ => return Err(RecordError::Truncated { at }),
        }
        let [a, b, c, d, tag] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        let damaged = |what: String| RecordError::Damaged { at, what };
        if length > MAX_FRAME {
            return Err(damaged(format!("frame of {length} bytes")));
        }
        self.payload.resize(length as usize, 0);
        if fill(&mut self.source, &mut self.payload).ok() != Some(self.payload.len()) {
            return Err(RecordError::Truncated { at });
        }
        self.at += 5 + u64::from(length);
        match tag {
            TAG_EVENT => Record::decode(&self.payload)
                .map(|event| Some(Frame::Event(event)))
                .map_err(|error: DecodeError| damaged(error.to_string())),
            TAG_STATUS => serde_json::from_slice(&self.payload)
                .map(|status| Some(Frame::Status(Box::new(status))))
                .map_err(|error| damaged(error.to_string())),
            tag => Err(damaged(format!("unknown frame tag {tag}"))),
        }
    }
}

/// Reads until `buffer` is full or the source ends; returns the number of bytes read.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match source.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recording() -> Vec<u8> {
        let mut recorder = Recorder::new(Vec::new()).unwrap();
        recorder.tick(7).unwrap();
        recorder.status(&Status::default()).unwrap();
        recorder.tick(9).unwrap();
        recorder.into_inner()
    }

    #[test]
    fn round_trip() {
        let bytes = recording();
        let mut recording = Recording::new(bytes.as_slice()).unwrap();
        assert!(matches!(
            recording.next_frame(),
            Ok(Some(Frame::Event(Record::Tick(7))))
        ));
        assert!(matches!(recording.next_frame(), Ok(Some(Frame::Status(_)))));
        assert!(matches!(
            recording.next_frame(),
            Ok(Some(Frame::Event(Record::Tick(9))))
        ));
        assert!(matches!(recording.next_frame(), Ok(None)));
    }

    #[test]
    fn complete_frames_of_a_truncated_recording_are_read() {
        let bytes = recording();
        let mut recording = Recording::new(&bytes[..bytes.len() - 3]).unwrap();
        assert!(recording.next_frame().unwrap().is_some());
        assert!(recording.next_frame().unwrap().is_some());
        assert!(matches!(
            recording.next_frame(),
            Err(RecordError::Truncated { .. })
        ));
    }

    #[test]
    fn a_file_without_the_magic_line_is_rejected() {
        assert!(Recording::new(&b"{\"json\": true, \"and\": 1}"[..]).is_none());
    }

    proptest! {
        #[test]
        fn reading_never_panics(tail: Vec<u8>) {
            let bytes = [MAGIC, &tail].concat();
            let mut recording = Recording::new(bytes.as_slice()).unwrap();
            while let Ok(Some(_)) = recording.next_frame() {}
        }
    }
}
