//! Recognizes programs that run a translated copy of another program's code.
//!
//! Valgrind, Pin, DynamoRIO and user-mode QEMU read the instructions of a program and run a
//! translation of them. A breakpoint that the kernel has placed is read as an instruction of the
//! program, which then dies of SIGTRAP. So no file that such a process maps is probed, nor one that
//! a process maps which the operator excludes (`--ignore-process`).

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::status::Reason;

/// Prefixes of the names of files that only translators map as code, and their translators.
const FILES: [(&[u8], &str); 8] = [
    // A tool is a static program, `memcheck-amd64-linux`; each has its own preloaded library.
    (b"vgpreload_", "Valgrind"),
    (b"pinbin", "Pin"),
    (b"libpin3", "Pin"),
    (b"libdynamorio.so", "DynamoRIO"),
    (b"libdrpreload.so", "DynamoRIO"),
    (b"qemu-x86_64", "QEMU"),
    (b"qemu-aarch64", "QEMU"),
    (b"box64", "box64"),
];
/// Suffixes of the names of Valgrind's tools, by machine.
const VALGRIND_TOOLS: [&[u8]; 2] = [b"-amd64-linux", b"-arm64-linux"];

/// Name in place of a translator for a process that the operator excludes: its translator may be an
/// unknown one.
pub(super) const EXCLUDED: &str = "--ignore-process";

/// A process that runs under a translator.
pub(super) type Translated = (u32, &'static str);

/// Whether the executable of a process lies below one of these paths.
pub(super) fn is_excluded(pid: u32, paths: &[PathBuf]) -> bool {
    if paths.is_empty() {
        return false;
    }
    let executable = fs::read_link(format!("/proc/{pid}/exe"));
    executable.is_ok_and(|executable| paths.iter().any(|path| executable.starts_with(path)))
}

/// Reason for which a file is not probed because of a translator.
pub(super) fn reason((_, translator): Translated) -> Reason {
    match translator {
        EXCLUDED => Reason::Ignored,
        _ => Reason::Translated,
    }
}

/// Explanation why a file is not probed because of a translator.
pub(super) fn finding((pid, translator): Translated) -> String {
    if translator == EXCLUDED {
        return format!("process {pid} is excluded by {EXCLUDED} and maps it");
    }
    format!("process {pid} runs under {translator}, which would execute the probes as instructions")
}

/// Name of the translator that maps a file at this path.
pub(super) fn from_path(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.as_bytes();
    let in_valgrind = path
        .parent()
        .and_then(Path::file_name)
        .is_some_and(|directory| directory == "valgrind");
    if in_valgrind && VALGRIND_TOOLS.iter().any(|tool| name.ends_with(tool)) {
        return Some("Valgrind");
    }
    let mut files = FILES.iter();
    files
        .find(|(start, _)| name.starts_with(start))
        .map(|(_, translator)| *translator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translators_are_recognized_by_their_files() {
        let cases = [
            (
                "/usr/libexec/valgrind/memcheck-amd64-linux",
                Some("Valgrind"),
            ),
            (
                "/usr/libexec/valgrind/vgpreload_core-amd64-linux.so",
                Some("Valgrind"),
            ),
            ("/opt/pin/intel64/bin/pinbin", Some("Pin")),
            (
                "/opt/dr/lib64/release/libdynamorio.so.11.0",
                Some("DynamoRIO"),
            ),
            ("/usr/bin/qemu-x86_64-static", Some("QEMU")),
            ("/usr/bin/qemu-system-x86_64", None),
            ("/usr/bin/memcheck-amd64-linux", None),
            ("/usr/lib/libssl.so.3", None),
        ];
        for (path, translator) in cases {
            assert_eq!(from_path(Path::new(path)), translator, "{path}");
        }
    }
}
