//! The distribution's packages: which are missing, and installing them without starting servers.

use std::{
    collections::HashSet, fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::steps::{Log, Outcome, announce};

/// What bpf-linker is built with, and a C toolchain.
pub(super) const COMPILER: &[&str] = &[
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
    "build-essential",
    "pkg-config",
];

/// The library for which a unit test makes a plan.
pub(super) const UNIT: &[&str] = &["openssl"];

/// The servers and tools of tests and demo.
pub(super) const BASE: &[&str] = &[
    "haproxy",
    "nginx-light",
    "apache2",
    "stunnel4",
    "gnutls-bin",
    "android-boringssl",
    "nftables",
    "iproute2",
    "procps",
    "openssl",
    "curl",
    "python3",
    "systemd",
];

/// Further packages for the tests: programs with TLS, compilers for the tested libraries, and
/// consumers of metrics and pages.
pub(super) const TESTS: &[&str] = &[
    "postgresql",
    "redis-server",
    "redis-tools",
    "faketime",
    "musl-tools",
    "libssl-dev",
    "perl",
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
    "prometheus",
    "chromium",
    "python3-jsonschema",
    "golang-go",
    "default-jdk-headless",
];

/// What boots other kernels, and what goes into their root.
pub(super) const VM: &[&str] = &[
    "qemu-system-x86",
    "busybox-static",
    "kmod",
    "xz-utils",
    "zstd",
    "debian-archive-keyring",
];

/// The client of the registry from which tests fetch Node.js releases, for machines that have none.
pub(super) const NPM: &[&str] = &["npm"];

/// Fetches wheels and the tools that render Kubernetes manifests.
pub(super) const PIP: &[&str] = &["python3-pip"];

/// The distribution's rustc with its source, for machines whose own rustc has none.
pub(super) const RUSTC: &[&str] = &["rustc-web", "rust-web-src"];

/// The linters that belong to the distribution's rustc.
pub(super) const LINTS: &[&str] = &["rustfmt-web", "rust-web-clippy"];

/// Debian asks this program whether a package may start its service; 101 says no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

const REMEDY: &str = "check the network and /etc/apt/sources.list (Debian 12 with \
    bookworm-security is what is tested), then run `cargo xtask setup` again";

/// Installs those of the packages that are missing.
pub(super) fn ensure(log: &Log, wanted: &[&str]) -> Result<Outcome> {
    let missing = missing(wanted)?;
    if missing.is_empty() {
        return Ok(Outcome::Present(format!("packages: {}", wanted.len())));
    }
    announce(&format!("installing {}", missing.join(" ")));
    let _policy = Policy::forbid_starts()?;
    log.run("read the package lists", apt().arg("update"), REMEDY)?;
    log.run(
        "install packages",
        apt()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&missing),
        REMEDY,
    )?;
    Ok(Outcome::Done(format!("installed {}", missing.join(" "))))
}

/// Installs the packages where the program cannot be started: it may come from elsewhere.
pub(super) fn ensure_program(log: &Log, program: &str, packages: &[&str]) -> Result<Outcome> {
    match Command::new(program).arg("--version").output() {
        Ok(answer) if answer.status.success() => {
            let version = String::from_utf8_lossy(&answer.stdout);
            Ok(Outcome::Present(format!("{program} {}", version.trim())))
        }
        _ => ensure(log, packages),
    }
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command
        .arg("--quiet")
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn missing<'a>(wanted: &[&'a str]) -> Result<Vec<&'a str>> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .output();
    let Ok(output) = output else {
        bail!(
            "failed to run dpkg-query: only Debian and its kin are set up by this command\n\
             remedy: install by hand what these packages hold: {}",
            wanted.join(" ")
        );
    };
    // It exits non-zero when one is unknown, and lists the others all the same.
    Ok(not_installed(
        &String::from_utf8_lossy(&output.stdout),
        wanted,
    ))
}

fn not_installed<'a>(listing: &str, wanted: &[&'a str]) -> Vec<&'a str> {
    let installed: HashSet<_> = listing
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .collect();
    wanted
        .iter()
        .copied()
        .filter(|name| !installed.contains(name))
        .collect()
}

/// Keeps packages from starting their servers, for as long as it lives.
struct Policy {
    /// Whether the file is ours, to be removed.
    ours: bool,
}

impl Policy {
    fn forbid_starts() -> Result<Self> {
        if Path::new(POLICY).exists() {
            // The machine has its own opinion, which is not ours to change.
            announce(
                "whether packages start their servers is decided by this machine's policy-rc.d",
            );
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")
            .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("failed to write {POLICY}"))?;
        announce("servers are installed, not started (policy-rc.d for the time of this step)");
        Ok(Self { ours: true })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("warning: failed to remove {POLICY}: {error}; remove it by hand");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let listing = "curl installed\nhaproxy config-files\nnginx-light not-installed\n";
        let wanted = ["curl", "haproxy", "nginx-light", "unknown"];
        assert_eq!(
            not_installed(listing, &wanted),
            ["haproxy", "nginx-light", "unknown"]
        );
    }
}
