//! Python wheels that bring an OpenSSL of their own, from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{cache, cached};
use crate::process::{PYTHON, run};

/// One wheel.
#[derive(Debug, Clone, Copy)]
pub struct Wheel<'a> {
    /// The project's name.
    pub project: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The platform tag, `manylinux2014_x86_64`.
    pub platform: &'static str,
    /// The version of Python that it is for, `311`.
    pub python: &'a str,
}

impl Wheel<'_> {
    /// The directory that it was unpacked to.
    ///
    /// # Panics
    /// When it cannot be had.
    #[must_use]
    pub fn unpacked(&self) -> PathBuf {
        let Self {
            project,
            version,
            platform,
            python,
        } = self;
        let name = format!("{project}-{version}-{platform}-{python}");
        cached(&cache("wheels").join(name), |made| {
            run(Command::new(PYTHON)
                .args([
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--no-deps",
                    "--only-binary",
                    ":all:",
                ])
                .args(["--disable-pip-version-check", "--implementation", "cp"])
                .args(["--platform", platform, "--python-version", python])
                .arg("--dest")
                .arg(made)
                .arg(format!("{project}=={version}")));
            let wheel =
                with_prefix(made, &project.replace('-', "_")).expect("pip downloads a wheel");
            run(Command::new(PYTHON)
                .args(["-m", "zipfile", "--extract"])
                .arg(&wheel)
                .arg(made));
            fs::remove_file(wheel).expect("failed to remove a wheel");
        })
    }

    /// The file in it whose name begins with one of `prefixes`: the first prefix that any has.
    ///
    /// # Panics
    /// When none does.
    #[must_use]
    pub fn file(&self, prefixes: &[&str]) -> PathBuf {
        let directory = self.unpacked();
        let found = prefixes
            .iter()
            .find_map(|prefix| with_prefix(&directory, prefix));
        found.unwrap_or_else(|| panic!("none of {prefixes:?} is in {}", directory.display()))
    }
}

/// A file below `directory` whose name begins with `prefix`.
#[must_use]
pub fn with_prefix(directory: &Path, prefix: &str) -> Option<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths.into_iter().find_map(|path| {
        if path.is_dir() && !path.is_symlink() {
            return with_prefix(&path, prefix);
        }
        let name = path.file_name()?.to_string_lossy().into_owned();
        (name.starts_with(prefix) && path.is_file()).then_some(path)
    })
}
