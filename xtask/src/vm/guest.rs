//! One guest: a kernel, the root, and what runs in it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{kernel::Kernel, report::Report};
use crate::{
    paths,
    process::{Process, with_parent_death_signal},
    steps::{Log, announce},
};

/// Chooses another accelerator than software: `kvm` where the machine has it and it works.
const ACCELERATOR_ENV: &str = "REPRISE_VM_ACCEL";

/// How long one guest may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Event transport and source of library data of each run: first the best that the kernel
/// supports, then the transport that every kernel supports.
pub(super) const WAYS: &[&str] = &["auto,auto", "perf,auto"];

/// Tests of the behaviour suite, by test binary. The root has what they need of the machine.
const TESTS: &[(&str, &[&str])] = &[(
    "behaviour",
    &[
        "kernels::as_the_kernel_can",
        "hello::python_offers",
        "loss::a_lost_client_hello",
        "loss::a_lost_syn",
        "loss::nothing_but_the_connection_gets_through",
    ],
)];
const BRIEF_TESTS: &[(&str, &[&str])] = &[("behaviour", &["kernels::as_the_kernel_can"])];

/// A file of tests, built.
pub(super) struct Test {
    /// Its name.
    pub(super) name: &'static str,
    /// The executable.
    pub(super) binary: PathBuf,
}

/// Builds the tests.
pub(super) fn tests(brief: bool) -> Result<Vec<Test>> {
    let wanted = if brief { BRIEF_TESTS } else { TESTS };
    let mut cargo = paths::cargo();
    cargo.args(["test", "--package", "reprise-tests", "--no-run"]);
    cargo.arg("--message-format=json-render-diagnostics");
    for (name, _) in wanted {
        cargo.args(["--test", name]);
    }
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    ensure!(
        output.status.success(),
        "failed to build the tests ({})",
        output.status
    );
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let built: Vec<_> = lines.lines().filter_map(xtask::bpf::executable).collect();
    wanted
        .iter()
        .map(|(name, _)| {
            let is_it = |path: &&PathBuf| {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                file.rsplit_once('-').is_some_and(|(stem, _)| stem == *name)
            };
            let binary = built.iter().find(is_it);
            let binary = binary.with_context(|| format!("failed to find the built test {name}"))?;
            Ok(Test {
                name,
                binary: binary.clone(),
            })
        })
        .collect()
}

/// See the module.
pub(super) struct Guest<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) root: &'a Path,
    pub(super) directory: &'a Path,
    /// Of [`WAYS`].
    pub(super) ways: &'a [&'static str],
    pub(super) brief: bool,
    pub(super) verbose: bool,
}

impl Guest<'_> {
    /// Boots it and reads what it says until it ends.
    pub(super) fn run(&self, _: &Log) -> Result<Report> {
        announce(&format!("booting Linux {}", self.kernel.release));
        let archive = self.archive()?;
        let output = self.directory.join("console");
        let console = File::create(&output).context("failed to create the console's file")?;
        let tests = if self.brief { BRIEF_TESTS } else { TESTS };
        let tests: Vec<_> = tests
            .iter()
            .flat_map(|(file, names)| names.iter().map(move |name| format!("{file}:{name}")))
            .collect();
        let line = format!(
            "console=ttyS0 quiet panic=-1 random.trust_cpu=on reprise.ways={} reprise.tests={}",
            self.ways.join(";"),
            tests.join(";")
        );
        let accelerator = std::env::var(ACCELERATOR_ENV).unwrap_or_else(|_| "tcg".to_owned());
        let mut qemu = with_parent_death_signal(Path::new("qemu-system-x86_64"), "KILL");
        qemu.args(["-machine", &format!("q35,accel={accelerator}")])
            .args(["-cpu", "max", "-m", "1024", "-smp", "2"])
            .args([
                "-display",
                "none",
                "-no-reboot",
                "-nodefaults",
                "-serial",
                "stdio",
            ])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(&archive)
            .args(["-append", &line])
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(Stdio::inherit());
        let mut guest = Process::spawn("QEMU", &mut qemu)?;
        let mut report = Report::new(self.ways.len(), tests.len());
        self.follow(&output, &mut guest, &mut report)?;
        Ok(report)
    }

    /// The root and, behind it, the kernel's own modules: archives one after the other are one.
    fn archive(&self) -> Result<PathBuf> {
        let path = self.directory.join("initrd");
        let mut archive = File::create(&path).context("failed to create the guest's root")?;
        let parts = [Some(self.root), self.kernel.modules.as_deref()];
        for part in parts.into_iter().flatten() {
            let bytes = std::fs::read(part)
                .with_context(|| format!("failed to read {}", part.display()))?;
            archive
                .write_all(&bytes)
                .context("failed to write the guest's root")?;
        }
        Ok(path)
    }

    fn follow(&self, output: &Path, guest: &mut Process, report: &mut Report) -> Result<()> {
        let began = std::time::Instant::now();
        let mut console =
            BufReader::new(File::open(output).context("failed to open the console's file")?);
        let mut line = Vec::new();
        loop {
            let ended = guest.exit_status()?.is_some();
            while console
                .read_until(b'\n', &mut line)
                .context("failed to read the console")?
                > 0
            {
                if !line.ends_with(b"\n") && !ended {
                    break;
                }
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if self.verbose {
                    println!("    {text}");
                }
                report.line(&text);
                line.clear();
            }
            if ended {
                return Ok(());
            }
            ensure!(
                began.elapsed() < PATIENCE && !crate::interrupt::received(),
                "failed to see the end of the guest within {PATIENCE:?}; so far:\n{report}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_brief_is_part_of_the_whole() {
        for (file, names) in BRIEF_TESTS {
            let whole = TESTS.iter().find(|(other, _)| other == file);
            let whole = whole.map_or(&[][..], |(_, names)| *names);
            assert!(names.iter().all(|name| whole.contains(name)), "{file}");
        }
    }
}
