//! Copies of the programs, one per cookie, for kernels without attach cookies. Each copy holds its
//! cookie as a constant. All copies share the maps of the first object, which are pinned in a BPF
//! file system that is visible to this process only and ends with it.

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use aya::{Ebpf, programs::UProbe};

use super::{
    bpf_log::BpfLog,
    error::SensorError,
    load_retry::retry_interrupted,
    object::{loader, set_process},
    program::{program, program_error},
};
use crate::{host::private_mount, status::BpfMode};

/// Creates copies of the programs of one object.
pub(super) struct ProgramCopies {
    object: &'static [u8],
    mode: BpfMode,
    /// Root of the BPF file system; closing it ends the file system.
    bpffs: File,
    /// Names of the pinned maps.
    maps: Vec<String>,
}

impl ProgramCopies {
    /// Pins the maps of `first` for the copies of its programs.
    ///
    /// # Errors
    ///
    /// [`SensorError::ShareMaps`].
    pub(super) fn new(
        object: &'static [u8],
        mode: BpfMode,
        first: &Ebpf,
    ) -> Result<Self, SensorError> {
        let open = |path: &Path| File::open(path);
        let bpffs = private_mount::open_in("bpf", || {}, open)
            .map_err(|error| SensorError::ShareMaps(Box::new(error)))?;
        let mut copies = Self {
            object,
            mode,
            bpffs,
            maps: Vec::new(),
        };
        // Maps with a dot in their name hold the constants of the object, which copies replace.
        for (name, map) in first.maps().filter(|(name, _)| !name.starts_with('.')) {
            let path = copies.pin_path(name);
            map.pin(path)
                .map_err(|error| SensorError::ShareMaps(Box::new(error)))?;
            copies.maps.push(name.to_owned());
        }
        Ok(copies)
    }

    fn pin_path(&self, map: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{map}", self.bpffs.as_raw_fd()))
    }

    /// Loads a copy with this cookie. Attached programs outlive the returned object.
    fn load(&self, cookie: u64) -> Result<Ebpf, SensorError> {
        let mut loader = loader();
        BpfLog::configure(&mut loader, self.mode);
        for map in &self.maps {
            loader.map_pin_path(map, self.pin_path(map));
        }
        set_process(&mut loader, &self.mode);
        loader
            .override_global("COOKIE", &cookie, true)
            .override_global("HAS_SCOPE", &u32::from(self.mode.scoped), true)
            .load(self.object)
            .map_err(|source| SensorError::Load(Box::new(source)))
    }
}

/// The copies that are loaded for one library.
pub(super) struct LoadedCopies<'a> {
    copies: &'a ProgramCopies,
    by_cookie: Vec<(u64, Ebpf)>,
}

impl<'a> LoadedCopies<'a> {
    pub(super) const fn new(copies: &'a ProgramCopies) -> Self {
        Self {
            copies,
            by_cookie: Vec::new(),
        }
    }

    /// The copy of a program that has this cookie; loads it on first use.
    pub(super) fn program(
        &mut self,
        probe: &'static str,
        cookie: u64,
    ) -> Result<&mut UProbe, SensorError> {
        let at = match self
            .by_cookie
            .iter()
            .position(|(other, _)| *other == cookie)
        {
            Some(at) => at,
            None => {
                self.by_cookie.push((cookie, self.copies.load(cookie)?));
                self.by_cookie.len() - 1
            }
        };
        let program = program::<&mut UProbe>(&mut self.by_cookie[at].1, probe)?;
        if program.fd().is_err() {
            retry_interrupted(|| program.load()).map_err(|source| program_error(probe, source))?;
        }
        Ok(program)
    }
}
