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

use crate::{paths, steps::command_line};

/// What goes in besides the binary, as it lies in the repository.
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

/// The texts of others' licences, beside the binary.
const OTHERS: &str = "LICENSES-THIRD-PARTY.txt";

/// Flags of `cargo xtask dist`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Pack this binary instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Where the archive goes; `dist` in the build directory unless said
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Builds, packs and sums up.
pub(crate) fn run(args: &Args) -> Result<()> {
    let agent = match &args.agent {
        Some(path) => path.clone(),
        None => {
            tool(paths::cargo().args(["build", "--release", "--locked", "--package", "reprise"]))?;
            paths::agent()?
        }
    };
    let output = match &args.output {
        Some(path) => path.clone(),
        None => paths::target()?.join("dist"),
    };
    fs::create_dir_all(&output)
        .with_context(|| format!("failed to create {}", output.display()))?;
    let output = fs::canonicalize(&output).context("failed to find the output directory")?;
    let name = format!(
        "reprise-{}-{}-linux",
        env!("CARGO_PKG_VERSION"),
        env::consts::ARCH
    );
    let archive = output.join(format!("{name}.tar.gz"));
    // Symbols stay, for backtraces; where each instruction came from does not.
    let binary = output.join("reprise");
    tool(
        Command::new("strip")
            .arg("--strip-debug")
            .arg("-o")
            .args([&binary, &agent]),
    )?;
    let others = output.join(OTHERS);
    fs::write(&others, licences::text()?).context("failed to write others' licences")?;
    pack(&name, &output, &archive)?;
    for made in [binary, others] {
        fs::remove_file(made).context("failed to remove what was packed")?;
    }
    let sums = checksum(&archive)?;
    println!("{}\n{}", archive.display(), sums.display());
    Ok(())
}

/// Packs all files below one directory: sorted, owned by root, readable by everybody, and with one
/// modification time.
fn pack(name: &str, binary: &Path, archive: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--format=ustar"])
        .args(["--owner=0", "--group=0", "--numeric-owner"])
        .args(["--mode=u=rwX,go=rX", &format!("--mtime=@{}", time()?)])
        .arg(format!("--transform=s,^,{name}/,"))
        .args(["--use-compress-program", "gzip -9 --no-name"])
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(paths::workspace())
        .args(CONTENT)
        .arg("--directory")
        .arg(binary)
        .args(["reprise", OTHERS]);
    tool(&mut tar)
}

/// `SHA256SUMS` beside the archive, as `sha256sum --check` reads it.
fn checksum(archive: &Path) -> Result<PathBuf> {
    let directory = archive.parent().context("failed to find the directory")?;
    let name = archive.file_name().context("failed to find the name")?;
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
    let sums = directory.join("SHA256SUMS");
    fs::write(&sums, output.stdout)
        .with_context(|| format!("failed to write {}", sums.display()))?;
    Ok(sums)
}

/// Returns the modification time of all files, Unix seconds: `SOURCE_DATE_EPOCH`
/// (reproducible-builds.org), else the time of the last commit, else 0.
fn time() -> Result<u64> {
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

fn tool(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("failed to start {}", command_line(command)))?;
    ensure!(
        status.success(),
        "failed: {} ({status})",
        command_line(command)
    );
    Ok(())
}
