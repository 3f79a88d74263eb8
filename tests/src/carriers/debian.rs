//! Libraries of other Debian suites and architectures, unpacked into a directory and never
//! installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::wheel::with_prefix;
use super::{cache, cached};
use crate::{host_lock, process::run};

/// Keys that sign the archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Packages of one suite for one architecture.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    /// Name of the suite.
    pub name: &'static str,
    /// Suites that complete it: `experimental` has few packages of its own.
    pub with: &'static [&'static str],
    /// `amd64` or `arm64`.
    pub architecture: &'static str,
    /// The package with libssl.
    pub library: &'static str,
}

impl Suite {
    /// Returns the root directory that libssl was unpacked to.
    #[must_use]
    pub fn libraries(&self) -> PathBuf {
        self.unpacked("libraries", &[self.library])
    }

    /// Returns the root directory with the suite's `openssl` and its dependencies.
    #[must_use]
    pub fn runnable(&self) -> PathBuf {
        let needed = ["openssl", "libc6", "zlib1g", "libzstd1"];
        self.unpacked("runnable", &[&needed[..], &[self.library]].concat())
    }

    fn unpacked(&self, kind: &str, packages: &[&str]) -> PathBuf {
        let name = format!("{}-{}-{kind}", self.name, self.architecture);
        cached(&cache("debian").join(name), |made| {
            let lists = self.lists();
            for package in packages {
                // The suite itself is preferred; the suites that complete it have the remaining
                // packages.
                let own = format!("{package}/{}", self.name);
                let mut download = self.apt(&lists);
                download.current_dir(made).args(["download", &own]);
                let has_own = host_lock::hold_during(|| download.output())
                    .is_ok_and(|output| output.status.success());
                if !has_own {
                    let mut download = self.apt(&lists);
                    download.current_dir(made).args(["download", package]);
                    host_lock::hold_during(|| run(&mut download));
                }
            }
            while let Some(archive) = with_suffix(made, "deb") {
                run(Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(&archive)
                    .arg(made));
                fs::remove_file(archive).expect("failed to remove a package");
            }
        })
    }

    /// Returns an apt root directory with the package lists of the suite.
    fn lists(&self) -> PathBuf {
        let name = format!("{}-{}-lists", self.name, self.architecture);
        cached(&cache("debian").join(name), |made| {
            let directories = [
                "etc/apt/sources.list.d",
                "etc/apt/preferences.d",
                "etc/apt/apt.conf.d",
                "var/lib/apt/lists/partial",
                "var/cache/apt/archives/partial",
                "var/lib/dpkg",
            ];
            for directory in directories {
                fs::create_dir_all(made.join(directory)).expect("failed to create a directory");
            }
            fs::write(made.join("var/lib/dpkg/status"), "").expect("failed to write a file");
            let suites = [&[self.name], self.with].concat().join(" ");
            let sources = format!(
                "Types: deb\nURIs: {}\nSuites: {suites}\nComponents: main\nSigned-By: {KEYRING}\n",
                archive()
            );
            fs::write(made.join("etc/apt/sources.list.d/archive.sources"), sources)
                .expect("failed to write a file");
            host_lock::hold_during(|| run(self.apt(made).arg("update")));
        })
    }

    fn apt(&self, root: &Path) -> Command {
        let mut apt = Command::new("apt-get");
        apt.arg("--quiet=2");
        let options = [
            format!("Dir={}", root.display()),
            format!("Dir::State::status={}/var/lib/dpkg/status", root.display()),
            format!("APT::Architecture={}", self.architecture),
            format!("APT::Architectures={}", self.architecture),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Check-Valid-Until=false".to_owned(),
        ];
        for option in options {
            apt.args(["--option", &option]);
        }
        apt
    }
}

/// Returns the URI of the Debian archive that this machine uses.
fn archive() -> String {
    let known = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Identifier: Packages",
    ]));
    let main = known
        .lines()
        .find(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    main.expect("apt knows Debian's own archive").to_owned()
}

/// Returns the path of libssl in an unpacked root.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn libssl(root: &Path) -> PathBuf {
    with_prefix(root, "libssl.so.").unwrap_or_else(|| panic!("no libssl in {}", root.display()))
}

fn with_suffix(directory: &Path, suffix: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| path.extension().is_some_and(|found| found == suffix))
}
