//! For kernels without attach cookies: a copy of the programs per cookie, each with its own as a constant. All copies use the
//! maps of the first object, which they find in a BPF file system that nobody else sees and that ends with this process.

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use aya::{Ebpf, programs::UProbe};

use super::{SensorError, aside, means::Means, object::loader, program, refused, told::Told};

/// See the module.
pub(super) struct Copies {
    object: &'static [u8],
    means: Means,
    /// The root of the file system, which lives as long as this is open.
    shelf: File,
    /// Names of the maps that lie there.
    maps: Vec<String>,
}

impl Copies {
    /// Lays the maps of `first` out for the copies of its programs.
    ///
    /// # Errors
    ///
    /// [`SensorError::Shelf`].
    pub(super) fn of(
        object: &'static [u8],
        means: Means,
        first: &Ebpf,
    ) -> Result<Self, SensorError> {
        let open = |place: &Path| File::open(place);
        let shelf = aside::mounted("bpf", || {}, open)
            .map_err(|error| SensorError::Shelf(Box::new(error)))?;
        let mut copies = Self {
            object,
            means,
            shelf,
            maps: Vec::new(),
        };
        // Those with a dot are made of sections of the object: the constants.
        for (name, map) in first.maps().filter(|(name, _)| !name.starts_with('.')) {
            let place = copies.place(name);
            map.pin(place)
                .map_err(|error| SensorError::Shelf(Box::new(error)))?;
            copies.maps.push(name.to_owned());
        }
        Ok(copies)
    }

    fn place(&self, map: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{map}", self.shelf.as_raw_fd()))
    }

    /// Another copy. Its programs outlive it where they are attached.
    fn copy(&self, cookie: u64) -> Result<Ebpf, SensorError> {
        let mut loader = loader();
        Told::prepare(&mut loader, self.means);
        for map in &self.maps {
            loader.map_pin_path(map, self.place(map));
        }
        loader
            .override_global("COOKIE", &cookie, true)
            .load(self.object)
            .map_err(|source| SensorError::Load(Box::new(source)))
    }
}

/// The copies made for one library.
pub(super) struct Made<'a> {
    copies: &'a Copies,
    made: Vec<(u64, Ebpf)>,
}

impl<'a> Made<'a> {
    pub(super) const fn new(copies: &'a Copies) -> Self {
        Self {
            copies,
            made: Vec::new(),
        }
    }

    /// The copy of a program that has this cookie.
    pub(super) fn program(
        &mut self,
        probe: &'static str,
        cookie: u64,
    ) -> Result<&mut UProbe, SensorError> {
        let at = match self.made.iter().position(|(other, _)| *other == cookie) {
            Some(at) => at,
            None => {
                self.made.push((cookie, self.copies.copy(cookie)?));
                self.made.len() - 1
            }
        };
        let program = program::<&mut UProbe>(&mut self.made[at].1, probe)?;
        if program.fd().is_err() {
            program.load().map_err(|source| refused(probe, source))?;
        }
        Ok(program)
    }
}
