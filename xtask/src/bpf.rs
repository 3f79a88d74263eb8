//! Builds the BPF objects: the binaries of the `reprise-ebpf` package, for `bpfel-unknown-none`.
//!
//! The agent's build script embeds the objects; `cargo xtask test` lints them. The build runs a
//! separate cargo inside the outer one, without the settings of the outer one. The flags are those
//! of aya-build 0.2.0.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::toolchain::Toolchain;

/// Compilation target of the objects.
pub const TARGET: &str = "bpfel-unknown-none";

/// Package whose binaries are the objects.
pub const PACKAGE: &str = "reprise-ebpf";

/// Kind of kernel; each sensor is built once per kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Kernels with ring buffers (5.8 and later).
    Ring,
    /// All kernels from 5.4, with perf buffers.
    Perf,
}

impl Kernel {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Ring, Self::Perf];

    /// Part of the object names, as in `handshake.ring.bpf.o`.
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

/// Variables of the outer cargo that would change the inner build: compiler and wrappers, flags,
/// directories, and the job server (whose file descriptors are not inherited).
const OUTER_VARIABLES: &[&str] = &[
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

/// Prefixes of further variables of the outer cargo.
const OUTER_PREFIXES: &[&str] = &[
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "DEP_",
];

/// Build profile of the objects. bpf-linker needs all bitcode in one codegen unit, and debug
/// information for the BTF; the verifier limits the size of the code.
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
/// A part of the toolchain is missing, or the build fails; the error contains the output of the
/// compiler.
pub fn build(workspace: &Path, out_dir: &Path, kernel: Kernel) -> Result<Vec<PathBuf>> {
    let toolchain = Toolchain::find()?;
    let mut cargo = cargo(&toolchain, workspace, &out_dir.join("bpf"), "build", kernel);
    // Diagnostics go to stderr as text; stdout has one JSON line per artifact.
    cargo.arg("--message-format=json-render-diagnostics");
    let output = cargo
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start {}", toolchain.cargo.display()))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!(
            "failed to build the BPF objects ({}) with {}:\n{stderr}\n\
             remedy: if the cause is the toolchain, run `cargo xtask setup` as root",
            output.status,
            toolchain.rustc.display(),
        );
    }
    let objects: Vec<_> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(executable)
        .collect();
    if objects.is_empty() {
        bail!("failed to find an object of package {PACKAGE}; output of cargo:\n{stderr}");
    }
    Ok(objects)
}

/// Returns a cargo command for the objects (`build`, `clippy`) without the settings of the outer
/// cargo.
#[must_use]
pub fn cargo(
    toolchain: &Toolchain,
    workspace: &Path,
    target_dir: &Path,
    subcommand: &str,
    kernel: Kernel,
) -> Command {
    let mut command = Command::new(&toolchain.cargo);
    command
        .current_dir(workspace)
        .args([subcommand, "--package", PACKAGE, "--bins"])
        .args(["--features", kernel.features(), "--release"])
        .args(["-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(target_dir);
    for (key, _) in env::vars_os() {
        if is_outer_setting(&key) {
            command.env_remove(key);
        }
    }
    command
        // Allows -Z build-std on a stable toolchain, in cargo and in rustc.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", &toolchain.rustc)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags())
        .envs(PROFILE.iter().copied());
    command
}

fn is_outer_setting(key: &OsStr) -> bool {
    let Some(key) = key.to_str() else {
        return false;
    };
    OUTER_VARIABLES.contains(&key) || OUTER_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// Compiler flags; `bpf_target_arch` selects the register layout of the kernel that loads the
/// object.
fn rustflags() -> String {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| env::consts::ARCH.to_owned());
    [
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ]
    .join("\x1f")
}

/// Returns the path after `"executable":` in a JSON line of cargo, unless it is `null`.
#[must_use]
pub fn executable(line: &str) -> Option<PathBuf> {
    let (_, rest) = line.split_once("\"executable\":\"")?;
    let mut path = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(path.into()),
            // A path on Linux needs no other escapes.
            '\\' => path.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => path.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_parses_artifact_lines_only() {
        let line = r#"{"reason":"compiler-artifact","executable":"/t/a \"b\"/tcp","fresh":true}"#;
        assert_eq!(executable(line), Some(PathBuf::from("/t/a \"b\"/tcp")));
        let library = r#"{"reason":"compiler-artifact","executable":null,"fresh":true}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable(r#"{"executable":"cut"#), None);
    }

    #[test]
    fn outer_settings_are_removed() {
        for key in ["RUSTFLAGS", "CARGO_FEATURE_X", "RUSTC", "CARGO_CFG_UNIX"] {
            assert!(is_outer_setting(OsStr::new(key)), "{key}");
        }
        for key in ["PATH", "CARGO_HOME", "RUSTUP_TOOLCHAIN", "RUSTUP_HOME"] {
            assert!(!is_outer_setting(OsStr::new(key)), "{key}");
        }
    }
}
