//! Reads the code mappings of processes and detects changes of them.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use procfs::{
    ProcError,
    process::{MMPermissions, MMapPath, Process},
};

/// Identity of a mapped file in `/proc/PID/maps`, which differs from that of `stat` on overlay file
/// systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MappingId {
    device: (i32, i32),
    inode: u64,
}

/// A file from which a process maps code.
#[derive(Debug)]
pub(super) struct MappedFile {
    pub(super) pid: u32,
    pub(super) id: MappingId,
    /// Path as the process sees it.
    pub(super) path: PathBuf,
    /// Executable mappings of the file.
    pub(super) segments: Vec<Segment>,
}

/// An executable mapping of a part of a file.
#[derive(Debug)]
pub(super) struct Segment {
    /// First address.
    pub(super) start: u64,
    /// Address after the last one.
    pub(super) end: u64,
    /// File offset of the first address.
    pub(super) offset: u64,
}

impl MappedFile {
    /// Paths to open the file by: first the mapping, which leads to the mapped inode even if the
    /// path was deleted or replaced, then the path in the root directory of the process.
    pub(super) fn names(&self) -> Vec<PathBuf> {
        let relative = self.path.strip_prefix("/").unwrap_or(&self.path);
        let mapping = self.segments.first().map(|Segment { start, end, .. }| {
            PathBuf::from(format!("/proc/{}/map_files/{start:x}-{end:x}", self.pid))
        });
        mapping
            .into_iter()
            .chain([PathBuf::from(format!("/proc/{}/root", self.pid)).join(relative)])
            .collect()
    }

    /// Address at which a file offset is mapped as code.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = offset.checked_sub(segment.offset)?;
            (inside < segment.end - segment.start).then(|| segment.start + inside)
        })
    }
}

/// The files from which a process maps code; none for an ended process or a kernel thread.
///
/// # Errors
///
/// The mappings of a running process cannot be read.
pub(super) fn mapped(pid: u32) -> Result<Vec<MappedFile>, ProcError> {
    let maps = Process::new(pid.cast_signed()).and_then(|process| process.maps());
    let maps = match maps {
        Ok(maps) => maps,
        Err(ProcError::NotFound(_)) => return Ok(Vec::new()),
        Err(error) => {
            return if exists(pid) {
                Err(error)
            } else {
                Ok(Vec::new())
            };
        }
    };
    let mut files: Vec<MappedFile> = Vec::new();
    let mut index = HashMap::new();
    for map in maps {
        let MMapPath::Path(path) = map.pathname else {
            continue;
        };
        if !map.perms.contains(MMPermissions::EXECUTE) || map.inode == 0 {
            continue;
        }
        let id = MappingId {
            device: map.dev,
            inode: map.inode,
        };
        let at = *index.entry(id).or_insert_with(|| {
            files.push(MappedFile {
                pid,
                id,
                path,
                segments: Vec::new(),
            });
            files.len() - 1
        });
        let (start, end) = map.address;
        if let Some(file) = files.get_mut(at)
            && start < end
        {
            file.segments.push(Segment {
                start,
                end,
                offset: map.offset,
            });
        }
    }
    Ok(files)
}

/// Size of the code that a process maps, KiB. If it has not changed, neither have the libraries.
/// Reading it does not lock the address space of the process, as reading the mappings does. `None`
/// for an ended process and a kernel thread.
pub(super) fn code_size(pid: u32) -> Option<u64> {
    let mut status = [0; 4096];
    let mut file = fs::File::open(format!("/proc/{pid}/status")).ok()?;
    let mut size = 0;
    // Usually one read returns everything.
    while let Some(rest) = status.get_mut(size..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => size += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    sum_code(status.get(..size)?)
}

/// Sum of `VmExe` and `VmLib` (proc_pid_status(5)), which cover all executable mappings.
fn sum_code(status: &[u8]) -> Option<u64> {
    let size = |key: &[u8]| -> Option<u64> {
        let line = status
            .split(|byte| *byte == b'\n')
            .find(|line| line.starts_with(key))?;
        let digits = line.iter().filter(|byte| byte.is_ascii_digit());
        Some(digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    };
    Some(size(b"VmExe:")? + size(b"VmLib:")?)
}

/// Whether a process exists.
pub(super) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// IDs of all processes.
pub(super) fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_code_is_found_at_its_address() {
        let pid = std::process::id();
        let own = fs::read_link("/proc/self/exe").unwrap();
        let files = mapped(pid).unwrap();
        let file = files.iter().find(|file| file.path == own).unwrap();
        let at = own_code_is_found_at_its_address as *const () as u64;
        let segment = file
            .segments
            .iter()
            .find(|segment| (segment.start..segment.end).contains(&at))
            .unwrap();
        let offset = at - segment.start + segment.offset;
        assert_eq!(file.address(offset), Some(at));
        assert_eq!(file.address(u64::MAX), None);
        assert!(file.names().iter().all(|name| name.exists()));
        assert!(code_size(pid).unwrap() > 0);
    }

    #[test]
    fn a_missing_process_maps_nothing() {
        assert!(mapped(u32::MAX >> 1).unwrap().is_empty());
        assert_eq!(code_size(u32::MAX >> 1), None);
        let kernel = b"Name:\tkthreadd\nThreads:\t1\n";
        assert_eq!(sum_code(kernel), None);
        let status = b"VmPeak:\t9 kB\nVmExe:\t     872 kB\nVmLib:\t    1636 kB\nx";
        assert_eq!(sum_code(status), Some(872 + 1636));
    }
}
