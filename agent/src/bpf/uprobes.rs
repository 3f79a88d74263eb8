//! Attaches the uprobe programs of the `handshake` sensor to library files, by the method that the
//! cookie source requires.

use std::{
    fs::File,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    thread,
};

use aya::{
    Ebpf,
    programs::{
        UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};

use super::{
    error::SensorError,
    load_retry::retry_interrupted,
    program::{program, program_error},
    program_copies::{LoadedCopies, ProgramCopies},
    uprobe_multi::{MultiPrograms, Point, ProgramStats},
};
use crate::status::{BpfMode, CookieSource};

/// Maximum number of threads that close links at the same time.
const MAX_CLOSING_THREADS: usize = 16;

/// The loaded uprobe programs.
pub(super) enum Uprobes {
    /// Programs for uprobe-multi links.
    Multi(MultiPrograms),
    /// Programs of the sensor's object, attached by one perf event per point.
    PerfEvents,
    /// Copies of the programs, attached by one perf event per point.
    Copies(ProgramCopies),
}

/// Keeps the points of one program in one file attached; dropping it detaches them.
pub(super) struct Link {
    /// Name of the program.
    pub(super) probe: &'static str,
    /// Number of points in the file.
    pub(super) points: usize,
    _handle: LinkHandle,
}

#[expect(dead_code, reason = "held because dropping it detaches")]
enum LinkHandle {
    Multi(OwnedFd),
    PerfEvents(Vec<UProbeLink>),
}

impl Uprobes {
    /// Loads the programs of `object`. Must run while `ebpf` still holds all its maps.
    pub(super) fn load(
        object: &'static [u8],
        mode: BpfMode,
        ebpf: &mut Ebpf,
        probes: &[&'static str],
    ) -> Result<Self, SensorError> {
        let uprobes = match mode.cookie_source {
            CookieSource::UprobeMulti => {
                return MultiPrograms::load(object, ebpf, probes).map(Self::Multi);
            }
            CookieSource::PerfEvent => Self::PerfEvents,
            CookieSource::ProgramCopies => Self::Copies(ProgramCopies::new(object, mode, ebpf)?),
        };
        for probe in probes {
            let program = program::<&mut UProbe>(ebpf, probe)?;
            retry_interrupted(|| program.load()).map_err(|source| program_error(probe, source))?;
        }
        Ok(uprobes)
    }

    /// Prepares to attach the programs to one library.
    pub(super) fn attacher<'a>(&'a self, ebpf: &'a mut Ebpf) -> Attacher<'a> {
        match self {
            Self::Multi(multi) => Attacher::Multi(multi),
            Self::PerfEvents => Attacher::PerfEvents(ebpf),
            Self::Copies(copies) => Attacher::Copies(LoadedCopies::new(copies)),
        }
    }

    /// The kernel's statistics of the programs that aya does not hold.
    pub(super) fn program_stats(&self) -> impl Iterator<Item = (&'static str, ProgramStats)> {
        let multi = match self {
            Self::Multi(multi) => Some(multi.stats()),
            Self::PerfEvents | Self::Copies(_) => None,
        };
        multi.into_iter().flatten()
    }
}

/// Attaches programs to the files of one library.
pub(super) enum Attacher<'a> {
    Multi(&'a MultiPrograms),
    PerfEvents(&'a mut Ebpf),
    Copies(LoadedCopies<'a>),
}

impl Attacher<'_> {
    /// Attaches one program to points of a file.
    ///
    /// # Errors
    ///
    /// [`SensorError`]; none of the points is attached then.
    pub(super) fn attach(
        &mut self,
        probe: &'static str,
        file: &File,
        points: &[Point],
    ) -> Result<Link, SensorError> {
        // The descriptor leads to the inode that was planned, even if its path has changed.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let handle = match self {
            Self::Multi(multi) => LinkHandle::Multi(multi.attach(probe, &path, points)?),
            Self::PerfEvents(ebpf) => {
                let program = program::<&mut UProbe>(ebpf, probe)?;
                let links = points.iter().map(|(offset, cookie)| {
                    attach_perf_event(probe, program, *offset, Some(*cookie), &path)
                });
                LinkHandle::PerfEvents(links.collect::<Result<_, _>>()?)
            }
            Self::Copies(copies) => {
                let links = points.iter().map(|(offset, cookie)| {
                    let program = copies.program(probe, *cookie)?;
                    attach_perf_event(probe, program, *offset, None, &path)
                });
                LinkHandle::PerfEvents(links.collect::<Result<_, _>>()?)
            }
        };
        Ok(Link {
            probe,
            points: points.len(),
            _handle: handle,
        })
    }
}

fn attach_perf_event(
    probe: &'static str,
    program: &mut UProbe,
    offset: u64,
    cookie: Option<u64>,
    path: &Path,
) -> Result<UProbeLink, SensorError> {
    let location = UProbeAttachLocation::AbsoluteOffset(offset);
    let point = UProbeAttachPoint { location, cookie };
    program
        .attach(point, path, UProbeScope::AllProcesses)
        .and_then(|link| program.take_link(link))
        .map_err(|source| program_error(probe, source))
}

/// Detaches links on a separate thread: the kernel needs a tenth of a second or more per link,
/// during which no events would be read.
pub(super) fn detach_in_background(links: Vec<Link>) {
    let builder = thread::Builder::new().name("detach".to_owned());
    // If no thread can be started, dropping the closure has detached the links.
    if let Err(error) = builder.spawn(move || drop(links)) {
        tracing::warn!(reason = %error, "failed to start the detach thread, detached in place");
    }
}

/// Detaches links in parallel and waits until all are detached.
pub(super) fn detach_all(mut links: Vec<Link>) {
    let share = links.len().div_ceil(MAX_CLOSING_THREADS).max(1);
    thread::scope(|scope| {
        while !links.is_empty() {
            let some = links.split_off(links.len().saturating_sub(share));
            let builder = thread::Builder::new().name("detach".to_owned());
            // If no thread can be started, the links are dropped here.
            let _unstarted = builder.spawn_scoped(scope, move || drop(some)).is_err();
        }
    });
}
