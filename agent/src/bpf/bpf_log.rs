//! Forwards log messages of the BPF programs (aya-log records) to this process's log, on request.
//! They need a ring buffer.

use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use log::Log;

use super::error::SensorError;
use crate::status::BpfMode;

/// aya-log's level "trace".
static ALL: u8 = 5;
/// A level below every message.
static NONE: u8 = 0;
/// Size of the log buffer when logging is off, bytes: the map exists either way.
const UNUSED_BUFFER: u32 = 4096;

/// The log of one object; empty if logging is off.
pub(super) struct BpfLog(Option<EbpfLogger<&'static dyn Log>>);

impl BpfLog {
    /// Sets the log level of the programs before they are loaded.
    pub(super) fn configure(loader: &mut EbpfLoader<'_>, mode: BpfMode) {
        if mode.ring {
            let level = if mode.log { &ALL } else { &NONE };
            loader.override_global(aya_log::LEVEL, level, true);
            if !mode.log {
                loader.map_max_entries("AYA_LOGS", UNUSED_BUFFER);
            }
        }
    }

    /// Opens the log buffer if logging is on.
    pub(super) fn open(ebpf: &mut Ebpf, mode: BpfMode) -> Result<Self, SensorError> {
        if !mode.log {
            return Ok(Self(None));
        }
        let logger = EbpfLogger::init(ebpf);
        logger
            .map(|logger| Self(Some(logger)))
            .map_err(SensorError::Log)
    }

    /// Forwards the buffered messages. The programs drop messages while the buffer is full.
    pub(super) fn flush(&mut self) {
        if let Some(logger) = &mut self.0 {
            logger.flush();
        }
    }
}
