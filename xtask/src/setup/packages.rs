//! Installation of Debian packages, without starting their services.

use std::{
    collections::HashSet, fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::steps::{Log, Outcome, announce};

/// C toolchain, and build dependencies of bpf-linker.
pub(super) const COMPILER: &[&str] = &[
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
    "build-essential",
    "pkg-config",
];

/// Library that a unit test analyses.
pub(super) const UNIT: &[&str] = &["openssl"];

/// Servers and tools for tests and demo.
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
    "memcached",
    "libnginx-mod-stream",
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
    "mosquitto",
    "gunicorn",
    "uvicorn",
    "default-jdk-headless",
    "erlang-base",
    "erlang-ssl",
    "libmbedtls-dev",
];

/// Packages for virtual machines and their root file system.
pub(super) const VM: &[&str] = &[
    "qemu-system-x86",
    "busybox-static",
    "kmod",
    "xz-utils",
    "zstd",
    "debian-archive-keyring",
];

/// npm, which downloads Node.js releases for the tests.
pub(super) const NPM: &[&str] = &["npm"];

/// pip, which downloads tools of the tests.
pub(super) const PIP: &[&str] = &["python3-pip"];

/// Debian's rustc with its source, used if no other rustc has its source.
pub(super) const RUSTC: &[&str] = &["rustc-web", "rust-web-src"];

/// Formatter and linter for Debian's rustc.
pub(super) const LINTS: &[&str] = &["rustfmt-web", "rust-web-clippy"];

/// Debian runs this program before a package starts its service; exit status 101 forbids it.
const POLICY_PATH: &str = "/usr/sbin/policy-rc.d";

const REMEDY: &str = "check the network and /etc/apt/sources.list (tested with Debian 12 \
    and bookworm-security), then run `cargo xtask setup` again";

/// Installs the missing packages.
pub(super) fn ensure(log: &Log, packages: &[&str]) -> Result<Outcome> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(Outcome::Present(format!("packages: {}", packages.len())));
    }
    announce(&format!("installing {}", missing.join(" ")));
    let _policy = ServicePolicy::forbid_starts()?;
    log.run("download the package lists", apt().arg("update"), REMEDY)?;
    log.run(
        "install packages",
        apt()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&missing),
        REMEDY,
    )?;
    Ok(Outcome::Done(format!("installed {}", missing.join(" "))))
}

/// Installs `packages` unless `program` runs; it may have been installed in another way.
pub(super) fn ensure_program(log: &Log, program: &str, packages: &[&str]) -> Result<Outcome> {
    match Command::new(program).arg("--version").output() {
        Ok(output) if output.status.success() => {
            let version = String::from_utf8_lossy(&output.stdout);
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

fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(packages)
        .output();
    let Ok(output) = output else {
        bail!(
            "failed to run dpkg-query: this command supports only Debian and its derivatives\n\
             remedy: install the equivalents of these packages: {}",
            packages.join(" ")
        );
    };
    // dpkg-query fails if a package is unknown, but still lists the others.
    Ok(not_installed(
        &String::from_utf8_lossy(&output.stdout),
        packages,
    ))
}

fn not_installed<'a>(listing: &str, packages: &[&'a str]) -> Vec<&'a str> {
    let installed: HashSet<_> = listing
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .collect();
    packages
        .iter()
        .copied()
        .filter(|name| !installed.contains(name))
        .collect()
}

/// Forbids packages to start their services until dropped.
struct ServicePolicy {
    /// Whether this process created the file and must remove it.
    is_owned: bool,
}

impl ServicePolicy {
    fn forbid_starts() -> Result<Self> {
        if Path::new(POLICY_PATH).exists() {
            // The administrator's policy has priority.
            announce("the existing policy-rc.d decides whether services start");
            return Ok(Self { is_owned: false });
        }
        fs::write(POLICY_PATH, "#!/bin/sh\nexit 101\n")
            .and_then(|()| fs::set_permissions(POLICY_PATH, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("failed to write {POLICY_PATH}"))?;
        announce("services are installed but not started (temporary policy-rc.d)");
        Ok(Self { is_owned: true })
    }
}

impl Drop for ServicePolicy {
    fn drop(&mut self) {
        if self.is_owned
            && let Err(error) = fs::remove_file(POLICY_PATH)
        {
            eprintln!("warning: failed to remove {POLICY_PATH}: {error}; remove it manually");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let listing = "curl installed\nhaproxy config-files\nnginx-light not-installed\n";
        let packages = ["curl", "haproxy", "nginx-light", "unknown"];
        assert_eq!(
            not_installed(listing, &packages),
            ["haproxy", "nginx-light", "unknown"]
        );
    }
}
