//! Python wheels from PyPI that contain their own OpenSSL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{cache, cached};
use crate::{
    host_lock,
    process::{PYTHON, run},
};

/// Identity of one wheel.
#[derive(Debug, Clone, Copy)]
pub struct Wheel<'a> {
    /// Name of the project.
    pub project: &'static str,
    /// Version of the project.
    pub version: &'static str,
    /// Platform tag, such as `manylinux2014_x86_64`.
    pub platform: &'static str,
    /// Python version, such as `311`.
    pub python: &'a str,
}

impl Wheel<'_> {
    /// Returns the directory that the wheel was unpacked to.
    ///
    /// # Panics
    /// If the download fails.
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
            let mut pip = Command::new(PYTHON);
            pip.args(["-m", "pip", "download", "--quiet", "--no-deps"])
                .args(["--only-binary", ":all:", "--disable-pip-version-check"])
                .args(["--implementation", "cp", "--platform", platform])
                .args(["--python-version", python, "--dest"])
                .arg(made)
                .arg(format!("{project}=={version}"));
            host_lock::hold_during(|| run(&mut pip));
            let wheel =
                with_prefix(made, &project.replace('-', "_")).expect("pip downloads a wheel");
            run(Command::new(PYTHON)
                .args(["-m", "zipfile", "--extract"])
                .arg(&wheel)
                .arg(made));
            fs::remove_file(wheel).expect("failed to remove a wheel");
        })
    }

    /// Returns the file for the first of `prefixes` that the name of any file in the wheel begins
    /// with.
    ///
    /// # Panics
    /// If no file name does.
    #[must_use]
    pub fn file(&self, prefixes: &[&str]) -> PathBuf {
        let directory = self.unpacked();
        let found = prefixes
            .iter()
            .find_map(|prefix| with_prefix(&directory, prefix));
        found.unwrap_or_else(|| panic!("none of {prefixes:?} is in {}", directory.display()))
    }
}

/// Returns a file below `directory` whose name begins with `prefix`.
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
