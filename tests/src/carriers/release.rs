//! OpenSSL releases in the crate `openssl-src`, and the variants that each is compiled in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::cached;
use crate::host_lock;

/// One release: the version of `openssl-src` and the OpenSSL version that it contains.
pub type Release = (&'static str, &'static str);

/// The newest release of each series.
pub const SERIES: [Release; 10] = [
    ("110.0.7", "1.1.0i"),
    ("111.28.2", "1.1.1w"),
    ("300.0.13", "3.0.8"),
    ("300.1.6", "3.1.4"),
    ("300.2.3", "3.2.1"),
    ("300.3.2", "3.3.2"),
    ("300.4.2", "3.4.1"),
    ("300.5.5", "3.5.5"),
    ("300.6.1", "3.6.3"),
    ("400.0.2", "4.0.3"),
];

/// The first release of each series that the crate has. Current Perl versions cannot configure
/// those of 1.1.0.
pub const FIRST: [Release; 9] = [
    ("111.0.1", "1.1.1"),
    ("300.0.2", "3.0.0"),
    ("300.1.0", "3.1.0"),
    ("300.2.0", "3.2.0"),
    ("300.3.0", "3.3.0"),
    ("300.4.0", "3.4.0"),
    ("300.5.0", "3.5.0"),
    ("300.6.0", "3.6.2"),
    ("400.0.0", "4.0.1"),
];

/// Options of configuration, compiler and linker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Shared library, `-O2`.
    Plain,
    /// Shared library without any optional feature.
    Minimal,
    /// Shared library with packed structures, which moves every field behind a pointer. No
    /// distribution does this.
    Packed,
    /// Shared library, `-O3` for a newer processor.
    Optimised,
    /// Shared library with link-time optimisation.
    Lto,
    /// Shared library hardened as in distributions: CET, stack protector, fortified, zeroed
    /// registers.
    Hardened,
    /// Shared library with frame pointers, as in Ubuntu and Fedora.
    FramePointers,
    /// Program that is not position-independent and exports its symbols, like Node.js.
    Program,
    /// Static program without symbols.
    Stripped,
    /// Shared library for AArch64.
    Arm,
}

impl Variant {
    /// All variants.
    pub const ALL: [Self; 10] = [
        Self::Plain,
        Self::Minimal,
        Self::Packed,
        Self::Optimised,
        Self::Lto,
        Self::Hardened,
        Self::FramePointers,
        Self::Program,
        Self::Stripped,
        Self::Arm,
    ];

    /// Name in the cache and in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Minimal => "minimal",
            Self::Packed => "packed",
            Self::Optimised => "optimised",
            Self::Lto => "lto",
            Self::Hardened => "hardened",
            Self::FramePointers => "frame-pointers",
            Self::Program => "program",
            Self::Stripped => "stripped",
            Self::Arm => "arm",
        }
    }

    /// Whether the result is a program and not a library.
    #[must_use]
    pub fn is_program(self) -> bool {
        matches!(self, Self::Program | Self::Stripped)
    }

    /// Prefix of the names of compiler, linker and binutils.
    #[must_use]
    pub fn tools(self) -> &'static str {
        match self {
            Self::Arm => "aarch64-linux-gnu-",
            _ => "",
        }
    }

    /// Platform name for `Configure`.
    pub(super) fn platform(self) -> &'static str {
        match self {
            Self::Arm => "linux-aarch64",
            _ => "linux-x86_64",
        }
    }

    /// Options of the compiler.
    pub(super) fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::Minimal | Self::Arm => &["-O2", "-fPIC"],
            Self::Packed => &["-O2", "-fPIC", "-fpack-struct=4"],
            Self::Optimised => &["-O3", "-march=x86-64-v3", "-fPIC"],
            Self::Lto => &["-O2", "-flto", "-fPIC"],
            Self::Hardened => &[
                "-O2",
                "-fPIC",
                "-fcf-protection=full",
                "-fstack-protector-strong",
                "-fstack-clash-protection",
                "-D_FORTIFY_SOURCE=2",
                "-fzero-call-used-regs=used-gpr",
            ],
            Self::FramePointers => &[
                "-O2",
                "-fPIC",
                "-fno-omit-frame-pointer",
                "-mno-omit-leaf-frame-pointer",
            ],
            Self::Program => &["-O2", "-fno-pie"],
            Self::Stripped => &["-O2", "-fno-pie", "-fstack-protector-strong"],
        }
    }

    /// Options of `Configure`.
    pub(super) fn options(self) -> &'static [&'static str] {
        match self {
            Self::Minimal => &[
                "no-srp",
                "no-psk",
                "no-dtls",
                "no-srtp",
                "no-nextprotoneg",
                "no-ct",
                "no-ocsp",
                "no-engine",
                "no-comp",
            ],
            _ => &[],
        }
    }
}

/// Returns the OpenSSL sources, which cargo downloads from its registry. All series are downloaded
/// at once, while no agent runs.
///
/// # Panics
/// If the download fails.
#[must_use]
pub fn sources(release: Release) -> PathBuf {
    sources_in_cargo(release, &["--offline"]).unwrap_or_else(|| {
        host_lock::hold_during(|| {
            let fetched = SERIES.map(|release| sources_in_cargo(release, &[]));
            assert!(
                fetched.iter().all(Option::is_some),
                "not fetched: {fetched:?}"
            );
            sources_in_cargo(release, &[]).expect("cargo names the package that it was asked for")
        })
    })
}

/// Directories that cargo has unpacked them to.
fn sources_in_cargo(release: Release, options: &[&str]) -> Option<PathBuf> {
    let (crate_version, version) = release;
    // One package for each: within one package, cargo allows one version of a crate per major
    // number.
    let package = cached(&super::cache("sources").join(version), |directory| {
        let manifest = format!(
            "[package]\nname = \"sources\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[lib]\npath = \"lib.rs\"\n\
             [dependencies]\nopenssl-src = \"={crate_version}\"\n[workspace]\n"
        );
        fs::write(directory.join("Cargo.toml"), manifest).expect("failed to write a manifest");
        fs::write(directory.join("lib.rs"), "").expect("failed to write a library");
    });
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--quiet", "--format-version", "1"])
        .args(options)
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .output()
        .expect("failed to start cargo");
    if !output.status.success() {
        println!("{}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    let output: Metadata =
        serde_json::from_slice(&output.stdout).expect("cargo's metadata are JSON");
    let mut packages = output.packages.iter();
    let found = packages.find(|package| package.name == "openssl-src")?;
    Some(Path::new(&found.manifest_path).parent()?.join("openssl"))
}

/// Output of `cargo metadata`, as far as it is needed.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
}
