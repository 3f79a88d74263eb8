//! Environment of the measurements.

use std::{ffi::OsString, fs, path::Path, process::Command, thread};

use anyhow::{Context as _, Result};

/// Returns the number of CPUs available to this process.
pub(super) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Copies the OpenSSL libraries of `openssl` and returns the value of `LD_PRELOAD` for the copies.
pub(super) fn copy_openssl(directory: &Path) -> Result<OsString> {
    let libraries = output(Command::new("sh").args(["-c", "ldd \"$(command -v openssl)\""]))?;
    let mut preload = OsString::new();
    for library in ["libssl", "libcrypto"] {
        let path = libraries
            .lines()
            .filter(|line| line.trim_start().starts_with(library))
            .find_map(|line| line.split_once("=> ")?.1.split(' ').next())
            .with_context(|| format!("failed to find the {library} that openssl uses"))?;
        let copy = directory.join(format!("unobserved-{library}.so"));
        fs::copy(path, &copy).with_context(|| format!("failed to copy {path}"))?;
        preload.push(copy);
        preload.push(":");
    }
    Ok(preload)
}

/// Returns one line with date, kernel, machine and versions.
pub(super) fn description() -> Result<String> {
    let date = output(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("failed to read the kernel's release")?;
    let openssl = output(Command::new("openssl").arg("version"))?;
    // nginx prints its version on stderr.
    let nginx = output(Command::new("sh").args(["-c", "nginx -v 2>&1"]))?;
    let virtualised = output(Command::new("grep").args(["-cw", "hypervisor", "/proc/cpuinfo"]))
        .map_or("", |_| ", virtual machine");
    let first_words = |text: &str, count| {
        let words: Vec<_> = text.split_whitespace().take(count).collect();
        words.join(" ")
    };
    Ok(format!(
        "{}; Linux {}; {} CPUs{virtualised} ({}); {}; {}",
        date.trim(),
        kernel.trim(),
        cpus(),
        std::env::consts::ARCH,
        first_words(&openssl, 2),
        first_words(nginx.trim_start_matches("nginx version: "), 1),
    ))
}

/// Runs a command and returns its stdout; fails if the command fails.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_owned();
    let output = command
        .output()
        .with_context(|| format!("failed to start {}", name.display()))?;
    anyhow::ensure!(
        output.status.success(),
        "{} failed ({}): {}",
        name.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
