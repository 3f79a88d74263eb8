//! What the programs say in words, on request: aya-log's records of one object, passed on to this process's log. They need a
//! ring buffer.

use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use log::Log;

use super::{SensorError, means::Means};

/// Level "trace" of aya-log: everything.
static ALL: u8 = 5;
/// No level is as low.
static NOTHING: u8 = 0;
/// Room where nothing is said, bytes: the map is there all the same.
const LITTLE: u32 = 4096;

/// The records of one object; silence where nobody asked.
pub(super) struct Told(Option<EbpfLogger<&'static dyn Log>>);

impl Told {
    /// Has the programs speak or not.
    pub(super) fn prepare(loader: &mut EbpfLoader<'_>, means: Means) {
        if means.ring {
            let level = if means.log { &ALL } else { &NOTHING };
            loader.override_global(aya_log::LEVEL, level, true);
            if !means.log {
                loader.map_max_entries("AYA_LOGS", LITTLE);
            }
        }
    }

    /// Listens, if they speak.
    pub(super) fn listen(ebpf: &mut Ebpf, means: Means) -> Result<Self, SensorError> {
        if !means.log {
            return Ok(Self(None));
        }
        let logger = EbpfLogger::init(ebpf);
        logger
            .map(|logger| Self(Some(logger)))
            .map_err(SensorError::Log)
    }

    /// Passes on what was said; what found no room was dropped by the programs.
    pub(super) fn pass_on(&mut self) {
        if let Some(logger) = &mut self.0 {
            logger.flush();
        }
    }
}
