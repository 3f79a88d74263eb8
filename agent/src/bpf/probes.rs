//! How the programs of the `handshake` sensor come into the files of a library, by the means that were chosen, and out of them.

use std::{
    fs::File,
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
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
    SensorError,
    copies::{Copies, Made},
    means::{Library, Means},
    multi::{Account, Multi, Point},
    program, refused,
};

/// Threads that end links side by side, at most.
const MAX_CLOSING: usize = 16;

/// The programs, ready to be placed.
pub(super) enum Probes {
    /// See [`Multi`].
    Multi(Multi),
    /// A perf event for each point.
    Each,
    /// See [`Copies`].
    Copies(Copies),
}

/// Keeps the points of one program in one file attached; dropping it detaches them.
pub(super) struct Link {
    /// The program.
    pub(super) probe: &'static str,
    /// Its points in the file.
    pub(super) points: usize,
    /// Held, not read.
    _kept: Kept,
}

#[expect(dead_code, reason = "held for what dropping them does")]
enum Kept {
    Multi(OwnedFd),
    Each(Vec<UProbeLink>),
}

impl Probes {
    /// Loads the programs of `object`. To be called before any map is taken out of `ebpf`: all of them may be needed.
    pub(super) fn load(
        object: &'static [u8],
        means: Means,
        ebpf: &mut Ebpf,
        probes: &[&'static str],
    ) -> Result<Self, SensorError> {
        if means.library == Library::Links {
            return Multi::load(object, ebpf, probes).map(Self::Multi);
        }
        let way = match means.library {
            Library::Copies => Self::Copies(Copies::of(object, means, ebpf)?),
            Library::Links | Library::Cookies => Self::Each,
        };
        for probe in probes {
            program::<&mut UProbe>(ebpf, probe)?
                .load()
                .map_err(|source| refused(probe, source))?;
        }
        Ok(way)
    }

    /// What places them in one library.
    pub(super) fn library<'a>(&'a self, ebpf: &'a mut Ebpf) -> Placing<'a> {
        match self {
            Self::Multi(multi) => Placing::Multi(multi),
            Self::Each => Placing::Each(ebpf),
            Self::Copies(copies) => Placing::Copies(Made::new(copies)),
        }
    }

    /// What the kernel has accounted of those that aya does not know.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (&'static str, Account)> {
        let multi = match self {
            Self::Multi(multi) => Some(multi.accounts()),
            Self::Each | Self::Copies(_) => None,
        };
        multi.into_iter().flatten()
    }
}

/// See [`Probes::library`].
pub(super) enum Placing<'a> {
    Multi(&'a Multi),
    Each(&'a mut Ebpf),
    Copies(Made<'a>),
}

impl Placing<'_> {
    /// Places one program into a file.
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
        // The very inode that was planned, whatever became of its path.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let kept = match self {
            Self::Multi(multi) => Kept::Multi(multi.attach(probe, &path, points)?),
            Self::Each(ebpf) => {
                let program = program::<&mut UProbe>(ebpf, probe)?;
                let links = points
                    .iter()
                    .map(|(offset, cookie)| attach(probe, program, *offset, Some(*cookie), &path));
                Kept::Each(links.collect::<Result<_, _>>()?)
            }
            Self::Copies(made) => {
                let links = points.iter().map(|(offset, cookie)| {
                    let program = made.program(probe, *cookie)?;
                    attach(probe, program, *offset, None, &path)
                });
                Kept::Each(links.collect::<Result<_, _>>()?)
            }
        };
        Ok(Link {
            probe,
            points: points.len(),
            _kept: kept,
        })
    }
}

fn attach(
    probe: &'static str,
    program: &mut UProbe,
    offset: u64,
    cookie: Option<u64>,
    path: &PathBuf,
) -> Result<UProbeLink, SensorError> {
    let location = UProbeAttachLocation::AbsoluteOffset(offset);
    let point = UProbeAttachPoint { location, cookie };
    program
        .attach(point, path, UProbeScope::AllProcesses)
        .and_then(|link| program.take_link(link))
        .map_err(|source| refused(probe, source))
}

/// Ends links on a thread of its own: the kernel takes a tenth of a second or more, in which nobody would read events.
pub(super) fn end_aside(links: Vec<Link>) {
    let closing = thread::Builder::new().name("detach".to_owned());
    // Where no thread can be had the links were dropped with the closure: detached all the same.
    if let Err(error) = closing.spawn(move || drop(links)) {
        tracing::warn!(reason = %error, "detached without a thread");
    }
}

/// Ends links and waits for it. Uprobe-multi links, each of which waits for the kernel, wait side by side.
pub(super) fn end(mut links: Vec<Link>) {
    let share = links.len().div_ceil(MAX_CLOSING).max(1);
    thread::scope(|scope| {
        while !links.is_empty() {
            let some = links.split_off(links.len().saturating_sub(share));
            let closing = thread::Builder::new().name("detach".to_owned());
            // As above: without a thread they are dropped here.
            let _unstarted = closing.spawn_scoped(scope, move || drop(some)).is_err();
        }
    });
}
