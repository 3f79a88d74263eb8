//! What code a process has mapped, and whether that changed.

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

/// Identity of a mapped file as `/proc/PID/maps` shows it, which on overlay file systems is another one than `stat` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MappingId {
    device: (i32, i32),
    inode: u64,
}

/// A file of which a process maps code.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) pid: u32,
    pub(super) id: MappingId,
    /// Path as the process sees it.
    pub(super) path: PathBuf,
    /// Its executable parts: addresses from and to, and where that is in the file.
    pub(super) parts: Vec<(u64, u64, u64)>,
}

impl Mapped {
    /// Names to open it by: the mapping itself first, which is the very inode even when the path is gone or leads elsewhere; then
    /// the path in the process's root.
    pub(super) fn names(&self) -> Vec<PathBuf> {
        let relative = self.path.strip_prefix("/").unwrap_or(&self.path);
        let mapping = self.parts.first().map(|(start, end, _)| {
            PathBuf::from(format!("/proc/{}/map_files/{start:x}-{end:x}", self.pid))
        });
        mapping
            .into_iter()
            .chain([PathBuf::from(format!("/proc/{}/root", self.pid)).join(relative)])
            .collect()
    }

    /// The address at which a byte of the file is mapped as code.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        self.parts.iter().find_map(|(start, end, from)| {
            let inside = offset.checked_sub(*from)?;
            (inside < end - start).then(|| start + inside)
        })
    }
}

/// The files of which a process maps code. A process that is gone, or that is the kernel's, has none.
///
/// # Errors
///
/// Where the system refuses.
pub(super) fn mapped(pid: u32) -> Result<Vec<Mapped>, ProcError> {
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
    let mut files: Vec<Mapped> = Vec::new();
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
            files.push(Mapped {
                pid,
                id,
                path,
                parts: Vec::new(),
            });
            files.len() - 1
        });
        let (start, end) = map.address;
        if let Some(file) = files.get_mut(at)
            && start < end
        {
            file.parts.push((start, end, map.offset));
        }
    }
    Ok(files)
}

/// How much code a process has mapped, KiB: when that is what it was, so are its libraries. Costs the process nothing, whereas
/// reading the mappings takes its lock. `None` for a process that is gone, and for the kernel's own.
pub(super) fn code_size(pid: u32) -> Option<u64> {
    let mut status = [0; 4096];
    let mut file = fs::File::open(format!("/proc/{pid}/status")).ok()?;
    let mut size = 0;
    // As a rule there is one read, and no end of file until asked for.
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

/// `VmExe` and `VmLib` (proc_pid_status(5)): together all executable mappings of files and of none.
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

/// There is such a process.
pub(super) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Every process there is.
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
    fn own_code_is_mapped_where_it_is() {
        let pid = std::process::id();
        let own = fs::read_link("/proc/self/exe").unwrap();
        let files = mapped(pid).unwrap();
        let file = files.iter().find(|file| file.path == own).unwrap();
        let at = own_code_is_mapped_where_it_is as *const () as u64;
        let (start, _, offset) = file
            .parts
            .iter()
            .find(|(start, end, _)| (*start..*end).contains(&at))
            .unwrap();
        assert_eq!(file.address(at - start + offset), Some(at));
        assert_eq!(file.address(u64::MAX), None);
        assert!(file.names().iter().all(|name| name.exists()));
        assert!(code_size(pid).unwrap() > 0);
    }

    #[test]
    fn nobody_maps_nothing() {
        assert!(mapped(u32::MAX >> 1).unwrap().is_empty());
        assert_eq!(code_size(u32::MAX >> 1), None);
        let kernel = b"Name:\tkthreadd\nThreads:\t1\n";
        assert_eq!(sum_code(kernel), None);
        let status = b"VmPeak:\t9 kB\nVmExe:\t     872 kB\nVmLib:\t    1636 kB\nx";
        assert_eq!(sum_code(status), Some(872 + 1636));
    }
}
