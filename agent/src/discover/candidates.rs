//! Which files may hold a TLS library: mapped code that is named `libssl*` or defines its functions, and directory entries of that
//! name.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, FileType},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};

use super::{
    carrier::{defines_tls, needed_crypto},
    image::{self, Image, ImageError, Opened},
};

/// Directories where distributions keep shared libraries; architecture directories below `lib` and `usr/lib` are looked into too.
const DIRECTORIES: [&str; 5] = ["lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib"];

/// Identity of a mapped file as `/proc/PID/maps` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MappingId {
    device: (i32, i32),
    inode: u64,
}

/// A file worth planning.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Path as its user sees it.
    pub(super) shown: String,
    /// Names to open it by, surest first.
    names: Vec<PathBuf>,
    crypto: Vec<PathBuf>,
}

impl Candidate {
    pub(super) fn open(&self) -> Result<Opened, ImageError> {
        open_first(&self.names)
    }

    pub(super) fn open_crypto(&self) -> Option<Image> {
        open_first(&self.crypto).and_then(Opened::read).ok()
    }
}

fn open_first(names: &[PathBuf]) -> Result<Opened, ImageError> {
    let mut last = Err(ImageError::NotRegular(PathBuf::new()));
    for name in names {
        last = image::open(name);
        if last.is_ok() {
            break;
        }
    }
    last
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

/// Library files among the mapped files that `known` does not hold yet; it holds them afterwards. A process that is gone has none.
pub(super) fn mapped(pid: u32, known: &mut HashSet<MappingId>) -> Vec<Candidate> {
    let maps = i32::try_from(pid)
        .ok()
        .and_then(|pid| Process::new(pid).ok())
        .and_then(|process| process.maps().ok());
    let Some(maps) = maps else {
        return Vec::new();
    };
    let code: Vec<(&MemoryMap, &Path)> = maps
        .iter()
        .filter(|map| map.perms.contains(MMPermissions::EXECUTE) && map.inode != 0)
        .filter_map(|map| match &map.pathname {
            MMapPath::Path(path) => Some((map, path.as_path())),
            _ => None,
        })
        .collect();
    // The one it asks for, or one beside it: a process may map several.
    let crypto_of = |ssl: &Path, ssl_names: &[PathBuf]| {
        let needed = ssl_names.iter().find_map(|name| needed_crypto(name));
        let rank = |path: &Path| {
            let asked = needed.as_ref().is_some_and(|name| is_named(path, name));
            (!asked, path.parent() != ssl.parent())
        };
        code.iter()
            .filter(|(_, path)| is_named(path, b"libcrypto"))
            .min_by_key(|(_, path)| rank(path))
            .map(|(map, path)| names(pid, map, path))
            .unwrap_or_default()
    };
    code.iter()
        .filter(|(map, _)| {
            known.insert(MappingId {
                device: map.dev,
                inode: map.inode,
            })
        })
        .filter_map(|(map, path)| {
            let names = names(pid, map, path);
            let shared = is_named(path, b"libssl");
            (shared || names.iter().any(|name| defines_tls(name))).then(|| Candidate {
                shown: path.display().to_string(),
                // Anything else that carries the library has both halves inside.
                crypto: if shared {
                    crypto_of(path, &names)
                } else {
                    Vec::new()
                },
                names,
            })
        })
        .collect()
}

/// The mapping itself first, which is the very inode even when the path is gone or leads elsewhere; then the path in the
/// process's root.
fn names(pid: u32, map: &MemoryMap, path: &Path) -> Vec<PathBuf> {
    let (start, end) = map.address;
    let relative = path.strip_prefix("/").unwrap_or(path);
    vec![
        PathBuf::from(format!("/proc/{pid}/map_files/{start:x}-{end:x}")),
        PathBuf::from(format!("/proc/{pid}/root")).join(relative),
    ]
}

/// Library files in the usual directories.
pub(super) fn at_rest() -> Vec<Candidate> {
    let mut found = Vec::new();
    for root in ["/", "/proc/1/root"] {
        for directory in DIRECTORIES {
            let directory = Path::new(root).join(directory);
            for inner in entries(&directory, FileType::is_dir) {
                found.extend(libraries_in(&inner, root));
            }
            found.extend(libraries_in(&directory, root));
        }
    }
    found
}

fn libraries_in(directory: &Path, root: &str) -> Vec<Candidate> {
    // Links lead to files that are found by their own name.
    entries(directory, FileType::is_file)
        .iter()
        .filter(|path| is_named(path, b"libssl.so"))
        .map(|path| Candidate {
            shown: Path::new("/")
                .join(path.strip_prefix(root).unwrap_or(path))
                .display()
                .to_string(),
            ..file(path)
        })
        .collect()
}

/// A library file, and the crypto library beside it: the one it asks for, else libssl.so.3 goes with libcrypto.so.3.
pub(super) fn file(path: &Path) -> Candidate {
    let alike = || {
        let mut name = b"libcrypto".to_vec();
        name.extend(suffix(path)?);
        Some(name)
    };
    let names = [needed_crypto(path), alike()];
    let beside = |name: Vec<u8>| path.with_file_name(OsStr::from_bytes(&name));
    Candidate {
        shown: path.display().to_string(),
        names: vec![path.to_owned()],
        crypto: names.into_iter().flatten().map(beside).collect(),
    }
}

fn entries(directory: &Path, wanted: fn(&FileType) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| wanted(&kind)))
        .map(|entry| entry.path())
        .collect()
}

fn is_named(path: &Path, prefix: &[u8]) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_bytes().starts_with(prefix))
}

fn suffix(path: &Path) -> Option<&[u8]> {
    let name = path.file_name().map(OsStr::as_bytes)?;
    let at = name.windows(4).position(|window| window == b".so.")?;
    name.get(at..)
}
