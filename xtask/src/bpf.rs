//! Builds the BPF objects: the binaries of the `reprise-ebpf` package, for `bpfel-unknown-none`.
//!
//! Called by the agent's build script, which embeds the objects, and by `cargo xtask test`, which
//! lints them. The build is a cargo of its own inside the outer one, so the outer one's settings
//! must not reach it; flags follow aya-build 0.2.0.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::toolchain::Toolchain;

/// The target that the objects are built for.
pub const TARGET: &str = "bpfel-unknown-none";

/// The package whose binaries are the objects.
pub const PACKAGE: &str = "reprise-ebpf";

/// What the objects are built for: each sensor is built once per kind of kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// With ring buffers (5.8 and later).
    Ring,
    /// Without: 5.4 is the floor. Runs on later ones as well.
    Perf,
}

impl Kernel {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ring, Self::Perf];

    /// How its objects are named: `handshake.ring.bpf.o`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Perf => "perf",
        }
    }

    const fn features(self) -> &'static str {
        match self {
            Self::Ring => "programs,ring",
            Self::Perf => "programs",
        }
    }
}

/// Variables of the outer cargo that would change the inner build: its compiler and wrappers, its
/// flags, its job server (whose descriptors are not inherited), its directories.
const LEAKS: &[&str] = &[
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
    "DEBUG",
    "MAKEFLAGS",
    "MFLAGS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "TARGET",
];

/// The same, by prefix.
const LEAK_PREFIXES: &[&str] = &[
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "DEP_",
];

/// Profile of the objects. The verifier walks what is emitted, and bpf-linker wants one unit with
/// all its bitcode and its debug information (BTF is made from it).
const PROFILE: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "2"),
    ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "false"),
    ("CARGO_PROFILE_RELEASE_INCREMENTAL", "false"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
];

/// Builds all objects for one kind of kernel and returns their paths below `out_dir`, which the
/// next build overwrites. A file has the name of its sensor.
///
/// `workspace` is the directory of the root manifest.
///
/// # Errors
/// A part of the toolchain is missing, or the build fails: the compiler's whole output is in the
/// error.
pub fn build(workspace: &Path, out_dir: &Path, kernel: Kernel) -> Result<Vec<PathBuf>> {
    let toolchain = Toolchain::find()?;
    let mut cargo = cargo(&toolchain, workspace, &out_dir.join("bpf"), "build", kernel);
    // Diagnostics go to stderr as text; stdout keeps one JSON line per artifact.
    cargo.arg("--message-format=json-render-diagnostics");
    let output = cargo
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start {}", toolchain.cargo.display()))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!(
            "failed to build the BPF objects ({}) with {}:\n{stderr}\n\
             remedy: if the toolchain is at fault, run `cargo xtask setup` as root",
            output.status,
            toolchain.rustc.display(),
        );
    }
    let objects: Vec<_> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(executable)
        .collect();
    if objects.is_empty() {
        bail!("failed to find any object that package {PACKAGE} built:\n{stderr}");
    }
    Ok(objects)
}

/// A cargo command (`build`, `clippy`) on the objects, with the outer cargo's settings removed.
#[must_use]
pub fn cargo(
    toolchain: &Toolchain,
    workspace: &Path,
    target_dir: &Path,
    verb: &str,
    kernel: Kernel,
) -> Command {
    let mut command = Command::new(&toolchain.cargo);
    command
        .current_dir(workspace)
        .args([verb, "--package", PACKAGE, "--bins"])
        .args(["--features", kernel.features(), "--release"])
        .args(["-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(target_dir);
    for (key, _) in env::vars_os() {
        if leaks(&key) {
            command.env_remove(key);
        }
    }
    command
        // Stable compilers accept -Z build-std only so; cargo and rustc both read it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", &toolchain.rustc)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags())
        .envs(PROFILE.iter().copied());
    command
}

fn leaks(key: &OsStr) -> bool {
    let Some(key) = key.to_str() else {
        return false;
    };
    LEAKS.contains(&key) || LEAK_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// `bpf_target_arch` selects the register layout of the machine whose kernel loads the object.
fn rustflags() -> String {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| env::consts::ARCH.to_owned());
    [
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ]
    .join("\x1f")
}

/// The path after `"executable":` in a JSON line of cargo, if it is no `null`.
#[must_use]
pub fn executable(line: &str) -> Option<PathBuf> {
    let (_, rest) = line.split_once("\"executable\":\"")?;
    let mut path = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(path.into()),
            // Only the two escapes that a path on this platform can need.
            '\\' => path.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => path.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_reads_artifact_lines_only() {
        let line = r#"{"reason":"compiler-artifact","executable":"/t/a \"b\"/tcp","fresh":true}"#;
        assert_eq!(executable(line), Some(PathBuf::from("/t/a \"b\"/tcp")));
        let library = r#"{"reason":"compiler-artifact","executable":null,"fresh":true}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable(r#"{"executable":"cut"#), None);
    }

    #[test]
    fn the_outer_build_does_not_leak() {
        for key in ["RUSTFLAGS", "CARGO_FEATURE_X", "RUSTC", "CARGO_CFG_UNIX"] {
            assert!(leaks(OsStr::new(key)), "{key}");
        }
        for key in ["PATH", "CARGO_HOME", "RUSTUP_TOOLCHAIN", "RUSTUP_HOME"] {
            assert!(!leaks(OsStr::new(key)), "{key}");
        }
    }
}
