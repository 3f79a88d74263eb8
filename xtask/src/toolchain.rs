//! Finds what builds the kernel side: a rustc that carries its own `core` source, a cargo to drive
//! it, and `bpf-linker`.
//!
//! Called by [`crate::bpf`] and by `cargo xtask setup`. It only looks; installing is setup's work.

use std::{
    env,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// Environment variable that names a rustc to use before any other.
pub const RUSTC_ENV: &str = "REPRISE_BPF_RUSTC";

/// Oldest rustc that builds the workspace (`rust-version` in the root manifest).
const MIN_MINOR: u32 = 95;

/// Where Debian's `rustc-web` puts its compiler.
const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";

/// A toolchain that can build for `bpfel-unknown-none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler, never a rustup shim: a shim would re-read the environment and pick another.
    pub rustc: PathBuf,
    /// Directory that holds the compiler's libraries and `core` source.
    pub sysroot: PathBuf,
    /// The cargo that drives the compiler; it may belong to another toolchain.
    pub cargo: PathBuf,
    /// The linker that turns LLVM bitcode into a BPF object.
    pub linker: PathBuf,
}

/// A part of the toolchain is missing.
#[derive(Debug)]
pub enum Error {
    /// No rustc has its `core` source; one line per candidate says why it was refused.
    NoRustc {
        /// What was tried, and the reason it does not serve.
        tried: Vec<String>,
    },
    /// No cargo was found.
    NoCargo,
    /// No `bpf-linker` was found.
    NoLinker {
        /// Directories searched beside `PATH`.
        also: Vec<PathBuf>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRustc { tried } => write!(
                f,
                "failed to find a rustc that carries its own core source:\n  {}\n\
                 remedy: run `cargo xtask setup` as root, or `rustup component add rust-src`, \
                 or name a compiler in {RUSTC_ENV}",
                tried.join("\n  ")
            ),
            Self::NoCargo => write!(
                f,
                "failed to find a cargo beside the compiler or in PATH\n\
                 remedy: run this through cargo (`cargo xtask setup`)"
            ),
            Self::NoLinker { also } => {
                write!(f, "failed to find bpf-linker in PATH")?;
                for dir in also {
                    write!(f, " or {}", dir.display())?;
                }
                write!(
                    f,
                    "\nremedy: run `cargo xtask setup` as root, or `cargo install bpf-linker`"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

impl Toolchain {
    /// Finds all parts.
    ///
    /// # Errors
    /// Names the part that is missing, what was tried, and the remedy.
    pub fn find() -> Result<Self, Error> {
        let (rustc, sysroot) = find_rustc()?;
        let cargo = find_cargo(&sysroot).ok_or(Error::NoCargo)?;
        let linker = find_linker()?;
        Ok(Self {
            rustc,
            sysroot,
            cargo,
            linker,
        })
    }

    /// The `clippy-driver` that belongs to this compiler, where its distribution ships one.
    #[must_use]
    pub fn clippy_driver(&self) -> Option<PathBuf> {
        let path = self.sysroot.join("bin/clippy-driver");
        path.is_file().then_some(path)
    }
}

/// Finds the rustc: the named one, then the toolchain in use, then the distribution's.
///
/// # Errors
/// [`Error::NoRustc`], with the reason for each candidate.
pub fn find_rustc() -> Result<(PathBuf, PathBuf), Error> {
    let mut tried = Vec::new();
    for (origin, rustc) in candidates() {
        match examine(&rustc) {
            Ok(found) => return Ok(found),
            Err(reason) => tried.push(format!("{} ({origin}): {reason}", rustc.display())),
        }
        // A compiler that was asked for by name is not silently replaced.
        if origin == RUSTC_ENV {
            break;
        }
    }
    Err(Error::NoRustc { tried })
}

/// Finds `bpf-linker` in `PATH` or where `cargo install` puts it.
///
/// # Errors
/// [`Error::NoLinker`].
pub fn find_linker() -> Result<PathBuf, Error> {
    let also: Vec<_> = cargo_home()
        .map(|home| home.join("bin"))
        .into_iter()
        .collect();
    in_path("bpf-linker")
        .or_else(|| {
            also.iter()
                .map(|dir| dir.join("bpf-linker"))
                .find(|path| path.is_file())
        })
        .ok_or(Error::NoLinker { also })
}

/// The first file of this name in `PATH`.
#[must_use]
pub fn in_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Cargo's home directory, by its own rule: `CARGO_HOME`, else `.cargo` in the home directory.
#[must_use]
pub fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

fn candidates() -> Vec<(&'static str, PathBuf)> {
    if let Some(named) = set(RUSTC_ENV) {
        return vec![(RUSTC_ENV, named.into())];
    }
    // Cargo sets RUSTC for build scripts: the very compiler of the outer build.
    let current = set("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    vec![
        ("toolchain in use", current.into()),
        ("distribution", DISTRIBUTION_RUSTC.into()),
    ]
}

fn set(key: &str) -> Option<OsString> {
    env::var_os(key).filter(|value| !value.is_empty())
}

/// Says whether this rustc serves: its version, and its `core` source.
fn examine(rustc: &Path) -> Result<(PathBuf, PathBuf), String> {
    let version = ask(rustc, &["--version"])?;
    match minor(&version) {
        Some(found) if found >= MIN_MINOR => {}
        _ => {
            let said = version.lines().next().unwrap_or_default();
            return Err(format!(
                "says `{said}`, wanted is rustc 1.{MIN_MINOR} or newer"
            ));
        }
    }
    let sysroot = PathBuf::from(ask(rustc, &["--print", "sysroot"])?);
    let core = sysroot.join("lib/rustlib/src/rust/library/core");
    if !core.is_dir() {
        return Err(format!("no core source at {}", core.display()));
    }
    let real = sysroot.join("bin/rustc");
    let rustc = if real.is_file() {
        real
    } else {
        rustc.to_path_buf()
    };
    Ok((rustc, sysroot))
}

fn ask(rustc: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new(rustc)
        .args(args)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(stderr.trim().to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The minor number in `rustc 1.95.0 (…)`.
fn minor(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(1)?;
    let mut parts = number.split('.');
    (parts.next()? == "1").then_some(())?;
    parts.next()?.parse().ok()
}

/// The cargo of the outer build reads the lock file that it wrote, so it comes first.
fn find_cargo(sysroot: &Path) -> Option<PathBuf> {
    let beside = sysroot.join("bin/cargo");
    set("CARGO")
        .map(PathBuf::from)
        .or_else(|| beside.is_file().then_some(beside))
        .or_else(|| in_path("cargo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_reads_rustup_and_distribution_versions() {
        assert_eq!(minor("rustc 1.95.0 (59807616e 2026-04-14)"), Some(95));
        let debian = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)";
        assert_eq!(minor(debian), Some(96));
        assert_eq!(minor("rustc 2.0.0"), None);
        assert_eq!(minor(""), None);
    }

    #[test]
    fn a_missing_compiler_is_named_with_its_remedy() {
        let reason = examine(Path::new("/nonexistent/rustc")).expect_err("no such file");
        let text = Error::NoRustc {
            tried: vec![reason],
        }
        .to_string();
        assert!(text.contains("cargo xtask setup"), "{text}");
    }
}
