//! Finds the toolchain for the BPF objects: a rustc with the source of `core`, cargo, and
//! `bpf-linker`.
//!
//! It installs nothing; `cargo xtask setup` does.

use std::{
    env,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// Environment variable with the path of the rustc to use.
pub const RUSTC_ENV: &str = "REPRISE_BPF_RUSTC";

/// Oldest rustc that builds the workspace (`rust-version` in the root manifest).
const MIN_MINOR: u32 = 95;

/// Compiler of Debian's package `rustc-web`.
const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";

/// Toolchain that can build for `bpfel-unknown-none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler itself; a rustup proxy could select another one from the environment.
    pub rustc: PathBuf,
    /// Directory of the compiler's libraries and the source of `core`.
    pub sysroot: PathBuf,
    /// The cargo to use; it may belong to another toolchain.
    pub cargo: PathBuf,
    /// The linker, which compiles LLVM bitcode to a BPF object.
    pub linker: PathBuf,
}

/// Missing part of the toolchain.
#[derive(Debug)]
pub enum Error {
    /// No rustc was found that has the source of `core`.
    NoRustc {
        /// Candidates with the reason for rejecting each.
        tried: Vec<String>,
    },
    /// No cargo was found.
    NoCargo,
    /// No `bpf-linker` was found.
    NoLinker {
        /// Directories searched in addition to `PATH`.
        directories: Vec<PathBuf>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRustc { tried } => write!(
                f,
                "failed to find a rustc with the source of core:\n  {}\n\
                 remedy: run `cargo xtask setup` as root, or `rustup component add rust-src`, \
                 or set {RUSTC_ENV} to the path of a compiler",
                tried.join("\n  ")
            ),
            Self::NoCargo => write!(
                f,
                "failed to find cargo in the toolchain of the compiler and in PATH\n\
                 remedy: run `cargo xtask setup`"
            ),
            Self::NoLinker { directories } => {
                write!(f, "failed to find bpf-linker in PATH")?;
                for dir in directories {
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
    /// A part is missing.
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

    /// Returns the `clippy-driver` of this compiler, if installed.
    #[must_use]
    pub fn clippy_driver(&self) -> Option<PathBuf> {
        let path = self.sysroot.join("bin/clippy-driver");
        path.is_file().then_some(path)
    }
}

/// Finds rustc and its sysroot: the one of [`RUSTC_ENV`], else that of the current toolchain, else
/// Debian's.
///
/// # Errors
/// [`Error::NoRustc`].
pub fn find_rustc() -> Result<(PathBuf, PathBuf), Error> {
    let mut tried = Vec::new();
    for (origin, rustc) in candidates() {
        match examine(&rustc) {
            Ok(found) => return Ok(found),
            Err(reason) => tried.push(format!("{} ({origin}): {reason}", rustc.display())),
        }
        // An explicit choice has no fallback.
        if origin == RUSTC_ENV {
            break;
        }
    }
    Err(Error::NoRustc { tried })
}

/// Finds `bpf-linker` in `PATH` or in the installation directory of `cargo install`.
///
/// # Errors
/// [`Error::NoLinker`].
pub fn find_linker() -> Result<PathBuf, Error> {
    let directories: Vec<_> = cargo_home()
        .map(|home| home.join("bin"))
        .into_iter()
        .collect();
    in_path("bpf-linker")
        .or_else(|| {
            directories
                .iter()
                .map(|dir| dir.join("bpf-linker"))
                .find(|path| path.is_file())
        })
        .ok_or(Error::NoLinker { directories })
}

/// Returns the first file with this name in `PATH`.
#[must_use]
pub fn in_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Returns cargo's home directory: `CARGO_HOME`, else `.cargo` in the home directory.
#[must_use]
pub fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

fn candidates() -> Vec<(&'static str, PathBuf)> {
    if let Some(path) = non_empty_var(RUSTC_ENV) {
        return vec![(RUSTC_ENV, path.into())];
    }
    // Cargo sets RUSTC for build scripts to the compiler of the outer build.
    let current = non_empty_var("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    vec![
        ("current toolchain", current.into()),
        ("Debian", DISTRIBUTION_RUSTC.into()),
    ]
}

fn non_empty_var(key: &str) -> Option<OsString> {
    env::var_os(key).filter(|value| !value.is_empty())
}

/// Returns the compiler and sysroot of a usable rustc, else the reason for rejecting it.
fn examine(rustc: &Path) -> Result<(PathBuf, PathBuf), String> {
    let version = query(rustc, &["--version"])?;
    match minor(&version) {
        Some(found) if found >= MIN_MINOR => {}
        _ => {
            let found = version.lines().next().unwrap_or_default();
            return Err(format!(
                "version `{found}`, expected rustc 1.{MIN_MINOR} or newer"
            ));
        }
    }
    let sysroot = PathBuf::from(query(rustc, &["--print", "sysroot"])?);
    let core = sysroot.join("lib/rustlib/src/rust/library/core");
    if !core.is_dir() {
        return Err(format!("no source of core at {}", core.display()));
    }
    let real = sysroot.join("bin/rustc");
    let rustc = if real.is_file() {
        real
    } else {
        rustc.to_path_buf()
    };
    Ok((rustc, sysroot))
}

fn query(rustc: &Path, args: &[&str]) -> Result<String, String> {
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

/// Returns the minor version in `rustc 1.95.0 (…)`.
fn minor(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(1)?;
    let mut parts = number.split('.');
    (parts.next()? == "1").then_some(())?;
    parts.next()?.parse().ok()
}

/// Prefers the cargo of the outer build, which can read the lock file that it wrote.
fn find_cargo(sysroot: &Path) -> Option<PathBuf> {
    let in_sysroot = sysroot.join("bin/cargo");
    non_empty_var("CARGO")
        .map(PathBuf::from)
        .or_else(|| in_sysroot.is_file().then_some(in_sysroot))
        .or_else(|| in_path("cargo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_parses_rustup_and_debian_versions() {
        assert_eq!(minor("rustc 1.95.0 (59807616e 2026-04-14)"), Some(95));
        let debian = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)";
        assert_eq!(minor(debian), Some(96));
        assert_eq!(minor("rustc 2.0.0"), None);
        assert_eq!(minor(""), None);
    }

    #[test]
    fn a_missing_compiler_is_reported_with_a_remedy() {
        let reason = examine(Path::new("/nonexistent/rustc")).expect_err("no such file");
        let text = Error::NoRustc {
            tried: vec![reason],
        }
        .to_string();
        assert!(text.contains("cargo xtask setup"), "{text}");
    }
}
