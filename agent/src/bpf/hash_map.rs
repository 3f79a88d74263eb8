//! A hash map of the programs, read in batches: one system call for thousands of entries. Before
//! 5.6 the entries are read one by one.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError},
};
use aya_obj::generated::bpf_cmd;
use zerocopy::{Immutable, IntoBytes};

use super::error::SensorError;

/// Maximum number of entries per batch.
const BATCH: u32 = 2_048;
/// `ENOTSUPP` (include/linux/errno.h): the map has no batches.
const NOT_SUPPORTED: i32 = 524;

/// A hash map, by its bytes.
pub(super) struct HashMap {
    fd: OwnedFd,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
}

/// Attributes of `BPF_MAP_LOOKUP_BATCH` in `union bpf_attr` (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Attributes of the commands for one element.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct ElementAttributes {
    map_fd: u32,
    reserved: u32,
    key: u64,
    /// Value, or next key.
    value: u64,
    flags: u64,
}

/// Entries that were read together.
#[derive(Default)]
pub(super) struct Batch {
    keys: Vec<u8>,
    values: Vec<u8>,
    key_size: usize,
    value_size: usize,
}

impl Batch {
    /// Keys and values.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let keys = self.keys.chunks_exact(self.key_size.max(1));
        keys.zip(self.values.chunks_exact(self.value_size.max(1)))
    }
}

/// Where the next batch begins.
enum Position {
    Start,
    /// The kernel's position.
    Batch(u32),
    /// The last key that was read.
    Key(Vec<u8>),
    End,
}

/// One reading of a map. Entries may change between batches.
pub(super) struct Reading<'a> {
    map: &'a HashMap,
    at: Position,
    /// Entries read so far: an iteration by keys can repeat them while the map changes.
    count: u32,
}

impl HashMap {
    /// Takes the map of this name out of the object.
    pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, SensorError> {
        let map = ebpf.take_map(name).ok_or(SensorError::Missing(name))?;
        let (Map::HashMap(data) | Map::LruHashMap(data)) = map else {
            return Err(SensorError::Missing(name));
        };
        Self::new(&data).map_err(|source| SensorError::Map {
            map: name,
            source: Box::new(source),
        })
    }

    fn new(data: &MapData) -> Result<Self, MapError> {
        let info = data.info()?;
        let fd = data.fd().as_fd();
        Ok(Self {
            fd: fd.try_clone_to_owned().map_err(MapError::IoError)?,
            key_size: info.key_size() as usize,
            value_size: info.value_size() as usize,
            max_entries: info.max_entries(),
        })
    }

    /// Begins a reading of all entries.
    pub(super) const fn read(&self) -> Reading<'_> {
        Reading {
            map: self,
            at: Position::Start,
            count: 0,
        }
    }

    /// Value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        assert_eq!(key.len(), self.key_size);
        let mut value = vec![0; self.value_size];
        let element = self.element(key, value.as_mut_ptr());
        // SAFETY: the kernel reads a key and writes a value of the map's sizes.
        unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &element) }.ok()?;
        Some(value)
    }

    /// Inserts or replaces an entry.
    pub(super) fn insert(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert_eq!((key.len(), value.len()), (self.key_size, self.value_size));
        let element = self.element(key, value.as_ptr().cast_mut());
        // SAFETY: the kernel reads a key and a value of the map's sizes.
        unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &element) }
    }

    /// Removes an entry; returns whether it existed.
    pub(super) fn remove(&self, key: &[u8]) -> bool {
        assert_eq!(key.len(), self.key_size);
        let element = self.element(key, std::ptr::null_mut());
        // SAFETY: the kernel reads a key of the map's size.
        unsafe { bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &element) }.is_ok()
    }

    fn element(&self, key: &[u8], value: *mut u8) -> ElementAttributes {
        ElementAttributes {
            map_fd: self.fd.as_raw_fd().cast_unsigned(),
            reserved: 0,
            key: key.as_ptr() as u64,
            value: value as u64,
            flags: 0,
        }
    }

    /// Reads the batch at `from`; returns the position of the next one.
    fn batch(&self, from: Option<u32>, batch: &mut Batch) -> io::Result<Position> {
        let count = BATCH.min(self.max_entries);
        batch.keys.resize(count as usize * self.key_size, 0);
        batch.values.resize(count as usize * self.value_size, 0);
        let mut next = 0_u32;
        let mut attributes = BatchAttributes {
            in_batch: from.as_ref().map_or(0, |at| std::ptr::from_ref(at) as u64),
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: batch.keys.as_mut_ptr() as u64,
            values: batch.values.as_mut_ptr() as u64,
            count,
            map_fd: self.fd.as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel writes at most `count` keys and values of the map's sizes, a position,
        // and `count` in the attributes.
        let result = unsafe { bpf_mut(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attributes) };
        let at = match result {
            Ok(()) => Position::Batch(next),
            // The last batch.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Position::End,
            Err(error) => return Err(error),
        };
        let read = attributes.count as usize;
        batch.keys.truncate(read * self.key_size);
        batch.values.truncate(read * self.value_size);
        Ok(at)
    }

    /// Reads entries one by one, after the key `from`.
    fn one_by_one(&self, from: Option<Vec<u8>>, batch: &mut Batch) -> Position {
        batch.keys.clear();
        batch.values.clear();
        let mut last = from;
        for _ in 0..BATCH {
            let mut key = vec![0; self.key_size];
            let from = last.as_deref();
            let element = ElementAttributes {
                key: from.map_or(0, |key| key.as_ptr() as u64),
                ..self.element(&[], key.as_mut_ptr())
            };
            // SAFETY: the kernel reads no key or one, and writes one, of the map's size.
            if unsafe { bpf(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &element) }.is_err() {
                return Position::End;
            }
            if let Some(value) = self.get(&key) {
                batch.keys.extend_from_slice(&key);
                batch.values.extend_from_slice(&value);
            }
            last = Some(key);
        }
        last.map_or(Position::End, Position::Key)
    }
}

impl Reading<'_> {
    /// Reads the next entries into `batch`; returns whether there were any to read.
    pub(super) fn next(&mut self, batch: &mut Batch) -> bool {
        batch.key_size = self.map.key_size;
        batch.value_size = self.map.value_size;
        let at = std::mem::replace(&mut self.at, Position::End);
        let batched = match &at {
            Position::Start => self.map.batch(None, batch),
            Position::Batch(from) => self.map.batch(Some(*from), batch),
            Position::Key(_) => Ok(Position::Start),
            Position::End => return false,
        };
        self.at = match (at, batched) {
            (Position::Key(key), _) => self.map.one_by_one(Some(key), batch),
            (_, Ok(next)) => next,
            (Position::Start, Err(error)) if has_no_batches(&error) => {
                self.map.one_by_one(None, batch)
            }
            (_, Err(_)) => {
                batch.keys.clear();
                return false;
            }
        };
        self.count += batch.entries().count() as u32;
        if self.count > 2 * self.map.max_entries {
            self.at = Position::End;
        }
        true
    }
}

fn has_no_batches(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOTSUP | NOT_SUPPORTED)
    )
}

/// Runs a command that changes nothing in `attributes`.
///
/// # Safety
///
/// The addresses in `attributes` must be valid for what the command reads and writes.
unsafe fn bpf<T: IntoBytes + Immutable>(command: bpf_cmd, attributes: &T) -> io::Result<()> {
    // SAFETY: guaranteed by the caller.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            attributes.as_bytes().as_ptr(),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Runs a command that can change `attributes`.
///
/// # Safety
///
/// As for [`bpf`].
unsafe fn bpf_mut(command: bpf_cmd, attributes: &mut BatchAttributes) -> io::Result<()> {
    let size = size_of::<BatchAttributes>();
    let at = std::ptr::from_mut(attributes);
    // SAFETY: guaranteed by the caller.
    if unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, at, size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
