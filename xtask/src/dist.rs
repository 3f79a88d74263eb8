//! `cargo xtask dist`: packs the release into one archive with a checksum.
//!
//! The archive contains the binary, deployment files, dashboards, documentation and licences,
//! including those of third parties. Equal input gives a bit-identical archive.

mod licences;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{paths, process, steps::command_line};

/// Files and directories of the repository in the archive.
const CONTENT: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-GPL-2.0",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "SPECIFICATION.md",
    "dashboards",
    "deploy",
    "docs",
];

/// File with the licences of third parties.
const THIRD_PARTY_LICENCES: &str = "LICENSES-THIRD-PARTY.txt";

/// Flags of `cargo xtask dist`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Agent binary to pack; default: build one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Directory of the archive; default: `dist` in the build directory
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Builds the agent and writes the archive and its checksum.
pub(crate) fn run(args: &Args) -> Result<()> {
    let agent = match &args.agent {
        Some(path) => path.clone(),
        None => {
            process::run_shown(paths::cargo().args([
                "build",
                "--release",
                "--locked",
                "--package",
                "reprise",
            ]))?;
            paths::agent()?
        }
    };
    let output = match &args.output {
        Some(path) => path.clone(),
        None => paths::target()?.join("dist"),
    };
    fs::create_dir_all(&output)
        .with_context(|| format!("failed to create {}", output.display()))?;
    let output = fs::canonicalize(&output).context("failed to resolve the output directory")?;
    let name = format!(
        "reprise-{}-{}-linux",
        env!("CARGO_PKG_VERSION"),
        env::consts::ARCH
    );
    let archive = output.join(format!("{name}.tar.gz"));
    // Backtraces need the symbols, but not the debug information.
    let binary = output.join("reprise");
    process::run_shown(
        Command::new("strip")
            .arg("--strip-debug")
            .arg("-o")
            .args([&binary, &agent]),
    )?;
    let licences = output.join(THIRD_PARTY_LICENCES);
    fs::write(&licences, licences::document()?)
        .context("failed to write the licences of third parties")?;
    pack(&name, &output, &archive)?;
    for packed in [binary, licences] {
        fs::remove_file(packed).context("failed to remove a packed file")?;
    }
    let checksums = write_checksum(&archive)?;
    println!("{}\n{}", archive.display(), checksums.display());
    Ok(())
}

/// Packs all files below one directory: sorted, owned by root, readable by everybody, and with one
/// modification time.
fn pack(name: &str, output: &Path, archive: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--format=ustar"])
        .args(["--owner=0", "--group=0", "--numeric-owner"])
        .args([
            "--mode=u=rwX,go=rX",
            &format!("--mtime=@{}", modification_time()?),
        ])
        .arg(format!("--transform=s,^,{name}/,"))
        .args(["--use-compress-program", "gzip -9 --no-name"])
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(paths::workspace())
        .args(CONTENT)
        .arg("--directory")
        .arg(output)
        .args(["reprise", THIRD_PARTY_LICENCES]);
    process::run_shown(&mut tar)
}

/// Writes `SHA256SUMS` next to the archive, in the format of `sha256sum --check`.
fn write_checksum(archive: &Path) -> Result<PathBuf> {
    let directory = archive.parent().context("the archive has no directory")?;
    let name = archive.file_name().context("the archive has no name")?;
    let mut command = Command::new("sha256sum");
    let output = command
        .current_dir(directory)
        .arg(name)
        .output()
        .context("failed to start sha256sum")?;
    ensure!(
        output.status.success(),
        "failed: {}",
        command_line(&command)
    );
    let checksums = directory.join("SHA256SUMS");
    fs::write(&checksums, output.stdout)
        .with_context(|| format!("failed to write {}", checksums.display()))?;
    Ok(checksums)
}

/// Returns the modification time of all files, Unix seconds: `SOURCE_DATE_EPOCH`
/// (reproducible-builds.org), else the time of the last commit, else 0.
fn modification_time() -> Result<u64> {
    if let Ok(epoch) = env::var("SOURCE_DATE_EPOCH") {
        return epoch
            .parse()
            .context("failed to read SOURCE_DATE_EPOCH as seconds");
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"])
        .current_dir(paths::workspace());
    let output = git.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    Ok(text.map_or(0, |text| text.trim().parse().unwrap_or_default()))
}
