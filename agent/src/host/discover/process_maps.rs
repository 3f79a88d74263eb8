//! Reads the code mappings of processes and detects changes of them.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use super::translators;

/// Identity of a mapped file in `/proc/PID/maps`, which differs from that of `stat` on overlay file
/// systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MappingId {
    pub(super) device: DeviceNumber,
    inode: u64,
}

/// Major and minor number of the file system that holds a mapped file.
pub(super) type DeviceNumber = (u32, u32);

/// What a process maps.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    /// Files from which the process maps code; under a translator, every mapped file.
    pub(super) files: Vec<MappedFile>,
    /// Name of the translator that runs the process's code.
    pub(super) translator: Option<&'static str>,
}

/// A file from which a process maps code.
#[derive(Debug, Clone)]
pub(super) struct MappedFile {
    pub(super) pid: u32,
    pub(super) id: MappingId,
    /// Path as the process sees it.
    pub(super) path: PathBuf,
    /// The process maps it as code.
    pub(super) is_code: bool,
    /// Mappings of the file.
    pub(super) segments: Vec<Segment>,
}

/// A mapping of a part of a file.
#[derive(Debug, Clone)]
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

    /// Path for display. Control characters, which the owner of the file chooses, are escaped.
    pub(super) fn shown(&self) -> String {
        let mut shown = String::new();
        for char in self.path.display().to_string().chars() {
            match char {
                control if control.is_control() => shown.extend(control.escape_default()),
                other => shown.push(other),
            }
        }
        shown
    }

    /// Address at which a file offset is mapped as code.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = offset.checked_sub(segment.offset)?;
            (inside < segment.end - segment.start).then(|| segment.start + inside)
        })
    }
}

/// The files that a process maps; none for an ended process or a kernel thread. One that the
/// operator excludes may run under an unknown translator.
///
/// # Errors
///
/// The mappings of a running process cannot be read.
pub(super) fn mapped(pid: u32, is_excluded: bool) -> io::Result<Mapped> {
    match fs::read(format!("/proc/{pid}/maps")) {
        Ok(maps) => Ok(parse_maps(pid, &maps, is_excluded)),
        // ESRCH: the process ended while the file was open.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) || !exists(pid) => {
            Ok(Mapped::default())
        }
        Err(error) => Err(error),
    }
}

/// A line of `/proc/PID/maps` (proc_pid_maps(5)) that names a file.
struct Line {
    id: MappingId,
    path: PathBuf,
    segment: Segment,
    is_code: bool,
}

impl Line {
    /// Parses `START-END PERMISSIONS OFFSET MAJOR:MINOR INODE PATH`. File names may hold any byte
    /// but newlines, which are escaped.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut rest = line;
        let mut fields = [&[] as &[u8]; 5];
        for field in &mut fields {
            let end = rest.iter().position(|byte| *byte == b' ')?;
            (*field, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
        }
        let [range, permissions, offset, device, inode] = fields;
        let inode = std::str::from_utf8(inode).ok()?.parse().ok()?;
        let path = rest.trim_ascii_start();
        if inode == 0 || !path.starts_with(b"/") {
            return None;
        }
        let (start, end) = hexadecimal_pair(range, b'-')?;
        let (major, minor) = hexadecimal_pair(device, b':')?;
        let device = (u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
        (start < end).then(|| Self {
            id: MappingId { device, inode },
            path: unescape(path),
            segment: Segment {
                start,
                end,
                offset: hexadecimal(offset).unwrap_or_default(),
            },
            is_code: permissions.get(2) == Some(&b'x'),
        })
    }
}

fn parse_maps(pid: u32, maps: &[u8], is_excluded: bool) -> Mapped {
    let lines: Vec<Line> = maps
        .split(|byte| *byte == b'\n')
        .filter_map(Line::parse)
        .collect();
    let translator = lines.iter().find_map(|line| {
        let name = translators::from_path(&line.path)?;
        line.is_code.then_some(name)
    });
    let translator = match is_excluded {
        true => Some(translators::EXCLUDED),
        false => translator,
    };
    let mut files: Vec<MappedFile> = Vec::new();
    let mut index = HashMap::new();
    for line in lines {
        if !line.is_code && translator.is_none() {
            continue;
        }
        let at = *index.entry(line.id).or_insert_with(|| {
            files.push(MappedFile {
                pid,
                id: line.id,
                path: line.path,
                is_code: false,
                segments: Vec::new(),
            });
            files.len() - 1
        });
        if let Some(file) = files.get_mut(at) {
            file.is_code |= line.is_code;
            file.segments.push(line.segment);
        }
    }
    Mapped { files, translator }
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn hexadecimal_pair(text: &[u8], separator: u8) -> Option<(u64, u64)> {
    let mut parts = text.split(|byte| *byte == separator);
    Some((hexadecimal(parts.next()?)?, hexadecimal(parts.next()?)?))
}

/// Decodes the escape of a newline.
fn unescape(path: &[u8]) -> PathBuf {
    const NEWLINE: &[u8] = b"\\012";
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(NEWLINE) {
            Some(after) => {
                bytes.push(b'\n');
                rest = after;
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// Size of the code that a process maps, KiB. If it has not changed, neither have the libraries.
/// Reading it does not lock the address space of the process, as reading the mappings does. `None`
/// for an ended process and a kernel thread.
pub(super) fn code_size(pid: u32) -> Option<u64> {
    // The file has any size: it lists the groups of the process.
    sum_code(&fs::read(format!("/proc/{pid}/status")).ok()?)
}

/// Sum of `VmExe` and `VmLib` (proc_pid_status(5)), which cover all executable mappings.
fn sum_code(status: &[u8]) -> Option<u64> {
    let size = |key: &[u8]| -> Option<u64> {
        let line = status
            .split(|byte| *byte == b'\n')
            .find(|line| line.starts_with(key))?;
        let digits = line.iter().filter(|byte| byte.is_ascii_digit());
        Some(digits.fold(0, |sum: u64, digit| {
            sum.saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        }))
    };
    Some(size(b"VmExe:")?.saturating_add(size(b"VmLib:")?))
}

/// Whether a process exists.
pub(super) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_code_is_found_at_its_address() {
        let pid = std::process::id();
        let own = fs::read_link("/proc/self/exe").unwrap();
        let files = mapped(pid, false).unwrap().files;
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
        assert!(mapped(u32::MAX >> 1, false).unwrap().files.is_empty());
        assert_eq!(code_size(u32::MAX >> 1), None);
        let kernel = b"Name:\tkthreadd\nThreads:\t1\n";
        assert_eq!(sum_code(kernel), None);
        let status = b"VmPeak:\t9 kB\nVmExe:\t     872 kB\nVmLib:\t    1636 kB\nx";
        assert_eq!(sum_code(status), Some(872 + 1636));
    }

    #[test]
    fn names_of_mapped_files_are_bytes() {
        let maps = b"7f00-7f10 r-xp 00001000 fd:10 77 /lib/a\xff b\\012c.so (deleted)\n\
            7f20-7f30 r--p 00000000 fd:10 78                  /lib/data\n\
            7f40-7f50 r-xp 00000000 00:00 0                   [vdso]\n\
            7f60-7f70 r-xp 00003000 fd:10 77 /lib/a\xff b\\012c.so (deleted)\n\
            garbage\n\xff\xff - \n";
        let mapped = parse_maps(1, maps, false);
        let [file] = mapped.files.as_slice() else {
            panic!("{mapped:?}");
        };
        let path = OsString::from_vec(b"/lib/a\xff b\nc.so (deleted)".to_vec());
        assert_eq!(file.path, PathBuf::from(path));
        assert_eq!(file.shown(), "/lib/a\u{fffd} b\\nc.so (deleted)");
        assert_eq!((file.id.device, file.id.inode), ((0xfd, 0x10), 77));
        assert_eq!(file.address(0x3004), Some(0x7f64));
        assert_eq!(mapped.translator, None);
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "says that the test did not run")]
    fn a_process_in_many_groups_is_read_whole() {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new("sleep");
        command.arg("60");
        let groups: Vec<libc::gid_t> = (2_000_000_000..2_000_000_900).collect();
        // SAFETY: setgroups reads an array that lives until it returns, and allocates nothing.
        unsafe {
            command.pre_exec(
                move || match libc::setgroups(groups.len(), groups.as_ptr()) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                },
            );
        }
        let Ok(mut child) = command.spawn() else {
            eprintln!("NOT RUN: setgroups needs root");
            return;
        };
        let pid = child.id();
        let status = fs::read(format!("/proc/{pid}/status")).unwrap();
        let code = code_size(pid);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(status.len() > 4096, "{} bytes", status.len());
        assert!(code > Some(0), "{code:?}");
    }
}
