//! Kernels of the guests: those of Debian's releases, and images given by path.
//!
//! apt downloads into a directory of its own, so that the packages of this machine do not change.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::cpio;
use crate::{
    process::run,
    steps::{Log, announce},
};

/// Kernel series and the Debian release that contains each. 5.10 has neither attach cookies nor
/// perf-event links, 6.1 has no uprobe-multi links.
const SERIES: [(&str, &str); 3] = [
    ("5.10", "bullseye"),
    ("6.1", "bookworm"),
    ("6.12", "trixie"),
];

/// Flavour of the kernel packages: the smallest, with drivers for virtual machines only. It has BTF
/// and uprobes, and nf_tables as modules.
const FLAVOUR: &str = "cloud-amd64";

/// Modules that the tests need, without their dependencies.
const MODULES: &[&str] = &[
    "veth",
    "nf_tables",
    "nft_numgen",
    "nft_ct",
    "nft_counter",
    "nft_limit",
    "nft_quota",
    "nf_conntrack",
];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const REMEDY: &str =
    "check the network and Debian's mirror, or use a kernel image with `--kernel PATH`";

/// A kernel to boot.
pub(super) struct Kernel {
    /// Release, or path of the image.
    pub(super) release: String,
    /// Path of the image.
    pub(super) image: PathBuf,
    /// cpio archive of the modules.
    pub(super) modules: Option<PathBuf>,
}

impl Kernel {
    /// Returns the requested kernels, or one per series if `requested` is empty. Downloads missing
    /// kernels into `store`.
    pub(super) fn find(log: &Log, store: &Path, requested: &[String]) -> Result<Vec<Self>> {
        if requested.is_empty() {
            let download =
                |(series, suite): &(&str, &str)| Self::download(log, store, series, suite);
            return SERIES.iter().map(download).collect();
        }
        requested
            .iter()
            .map(
                |kernel| match SERIES.iter().find(|(series, _)| series == kernel) {
                    Some((series, suite)) => Self::download(log, store, series, suite),
                    None => Self::from_image(Path::new(kernel)),
                },
            )
            .collect()
    }

    fn from_image(path: &Path) -> Result<Self> {
        ensure!(
            path.is_file(),
            "failed to find the kernel {}: expected a file or one of the series 5.10, 6.1, 6.12",
            path.display()
        );
        Ok(Self {
            release: path.display().to_string(),
            image: path.to_path_buf(),
            modules: None,
        })
    }

    /// Downloads and unpacks the newest kernel of a series, unless it is in `store`.
    fn download(log: &Log, store: &Path, series: &str, suite: &str) -> Result<Self> {
        let directory = store.join(series);
        if let Ok(kernel) = Self::from_directory(&directory) {
            return Ok(kernel);
        }
        // An earlier run did not finish.
        if directory.exists() {
            fs::remove_dir_all(&directory).context("failed to remove an unfinished download")?;
        }
        announce(&format!("downloading Linux {series} of {suite}"));
        let apt = Apt::prepare(&directory.join("apt"), suite)?;
        log.run(
            "download the package lists",
            apt.get().arg("update"),
            REMEDY,
        )?;
        let output = apt
            .cache()
            .args(["pkgnames", &format!("linux-image-{series}.")])
            .output()
            .context("failed to start apt-cache")?;
        let names = String::from_utf8_lossy(&output.stdout);
        let package = newest(&names, FLAVOUR).with_context(|| {
            format!("failed to find a package of Linux {series} ({FLAVOUR}) in {suite}\nremedy: {REMEDY}")
        })?;
        log.run(
            "download the kernel",
            apt.get()
                .current_dir(&directory)
                .args(["download", package]),
            REMEDY,
        )?;
        let tree = directory.join("tree");
        for entry in fs::read_dir(&directory)
            .context("failed to list the download")?
            .flatten()
        {
            if entry.path().extension().is_some_and(|kind| kind == "deb") {
                run(Command::new("dpkg-deb")
                    .arg("-x")
                    .arg(entry.path())
                    .arg(&tree))?;
                fs::remove_file(entry.path()).context("failed to remove a package")?;
            }
        }
        // The packages since trixie contain usr/lib, earlier ones lib.
        if !tree.join("lib").exists() {
            symlink("usr/lib", tree.join("lib")).context("failed to link lib")?;
        }
        pack_modules(&tree, &directory)?;
        Self::from_directory(&directory)
    }

    fn from_directory(directory: &Path) -> Result<Self> {
        let boot = directory.join("tree/boot");
        let image = fs::read_dir(&boot)
            .with_context(|| format!("failed to list {}", boot.display()))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| file_name(path).starts_with("vmlinuz-"))
            .context("failed to find the image in the package")?;
        let modules = directory.join("modules.cpio");
        ensure!(
            modules.is_file(),
            "failed to find the archive of the modules"
        );
        Ok(Self {
            release: file_name(&image).trim_start_matches("vmlinuz-").to_owned(),
            image,
            modules: Some(modules),
        })
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Returns the package name with the highest version.
fn newest<'a>(names: &'a str, flavour: &str) -> Option<&'a str> {
    let has_flavour = |name: &&str| name.ends_with(flavour);
    names.lines().filter(has_flavour).max_by_key(|name| {
        let numbers = name.split(|c: char| !c.is_ascii_digit());
        let numbers: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
        numbers
    })
}

/// Packs [`MODULES`] and their dependencies, uncompressed, into `modules.cpio` in `directory`.
fn pack_modules(tree: &Path, directory: &Path) -> Result<()> {
    let libraries = tree.join("lib/modules");
    let release = fs::read_dir(&libraries)
        .with_context(|| format!("failed to list {}", libraries.display()))?
        .flatten()
        .next()
        .context("failed to find the modules in the package")?
        .file_name();
    run(Command::new("depmod").arg("-b").arg(tree).arg(&release))?;
    let packed = directory.join("modules");
    for module in MODULES {
        let output = Command::new("modprobe")
            .arg("-d")
            .arg(tree)
            .arg("-S")
            .arg(&release)
            .args(["--show-depends", module])
            .output()
            .context("failed to start modprobe")?;
        // Lists no module that is built in or has another name in this kernel.
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(path) = line.strip_prefix("insmod ") {
                add_module(Path::new(path.trim()), tree, &packed)?;
            }
        }
    }
    let into = packed.join("usr/lib/modules").join(&release);
    for index in [
        "modules.builtin",
        "modules.order",
        "modules.builtin.modinfo",
    ] {
        let from = libraries.join(&release).join(index);
        if from.is_file() {
            fs::copy(&from, into.join(index)).context("failed to copy an index of modules")?;
        }
    }
    symlink("usr/lib", packed.join("lib")).context("failed to link lib")?;
    run(Command::new("depmod").arg("-b").arg(&packed).arg(&release))?;
    fs::remove_file(packed.join("lib")).context("failed to unlink lib")?;
    cpio::pack(&packed, &directory.join("modules.cpio"))
}

/// Copies a module from `tree` to `packed`, uncompressed.
fn add_module(from: &Path, tree: &Path, packed: &Path) -> Result<()> {
    let path = from
        .strip_prefix(tree)
        .context("failed to locate a module in the package")?;
    let path = path.strip_prefix("usr").unwrap_or(path);
    let to = packed.join("usr").join(path);
    fs::create_dir_all(to.parent().unwrap_or(packed)).context("failed to create a directory")?;
    fs::copy(from, &to).with_context(|| format!("failed to copy {}", from.display()))?;
    match to.extension().and_then(|kind| kind.to_str()) {
        Some("xz") => run(Command::new("xz").args(["-d", "-f"]).arg(&to)),
        Some("zst") => run(Command::new("zstd")
            .args(["-d", "-q", "-f", "--rm"])
            .arg(&to)),
        _ => Ok(()),
    }
}

/// apt with its own directory for package lists and sources.
struct Apt(PathBuf);

impl Apt {
    /// Creates the directory. The source is the mirror of this machine, with the release `suite`.
    fn prepare(root: &Path, suite: &str) -> Result<Self> {
        for directory in [
            "etc/apt/sources.list.d",
            "etc/apt/preferences.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/lib/dpkg",
        ] {
            fs::create_dir_all(root.join(directory)).context("failed to create a directory")?;
        }
        let sites = Command::new("apt-get")
            .args(["indextargets", "--format", "$(SITE) $(LABEL)"])
            .args(["Created-By: Packages", "Origin: Debian"])
            .output()
            .context("failed to start apt-get")?;
        let sites = String::from_utf8_lossy(&sites.stdout).into_owned();
        let site = sites.lines().find_map(|line| line.strip_suffix(" Debian"));
        let Some(site) = site else {
            bail!("failed to find Debian's mirror in apt's sources\nremedy: {REMEDY}");
        };
        let source = format!("deb [signed-by={KEYRING}] {site} {suite} main\n");
        fs::write(root.join("etc/apt/sources.list"), source)
            .context("failed to write apt's sources")?;
        fs::write(root.join("var/lib/dpkg/status"), "").context("failed to write dpkg's status")?;
        Ok(Self(root.to_path_buf()))
    }

    fn tool(&self, name: &str) -> Command {
        let root = self.0.display();
        let mut command = Command::new(name);
        command.args(["-o", &format!("Dir={root}")]).args([
            "-o",
            &format!("Dir::State::status={root}/var/lib/dpkg/status"),
            "-o",
            "APT::Sandbox::User=root",
            "-o",
            "APT::Architecture=amd64",
            "-o",
            "Acquire::Languages=none",
            "-o",
            "Acquire::Check-Valid-Until=false",
            "-q",
        ]);
        command
    }

    fn get(&self) -> Command {
        self.tool("apt-get")
    }

    fn cache(&self) -> Command {
        self.tool("apt-cache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_has_the_highest_version() {
        let names = "linux-image-6.12.9+deb13-cloud-amd64\nlinux-image-6.12.118+deb13-cloud-amd64\n\
                     linux-image-6.12.200+deb13-amd64\nlinux-image-6.12.300+deb13-cloud-amd64-unsigned\n";
        let found = newest(names, FLAVOUR);
        assert_eq!(found, Some("linux-image-6.12.118+deb13-cloud-amd64"));
        assert_eq!(newest("", FLAVOUR), None);
    }
}
