//! A guest: a kernel with the root file system, run under QEMU.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{kernel::Kernel, lockdown::LockdownReport, report::Report, suite};
use crate::{
    interrupt,
    process::{Process, with_parent_death_signal},
    steps::announce,
};

/// Environment variable with the accelerator of QEMU, such as `kvm`; default: software emulation.
const ACCELERATOR_ENV: &str = "REPRISE_VM_ACCEL";

/// Limit for one guest.
const TIMEOUT: Duration = Duration::from_secs(900);

/// Configurations of the agent, each as `TRANSPORT,LIBRARY_DATA`: first the best that the kernel
/// supports, then the event transport that every kernel supports.
pub(super) const CONFIGURATIONS: &[&str] = &["auto,auto", "perf,auto"];

/// A virtual machine to run.
pub(super) struct Guest<'a> {
    /// Kernel to boot.
    pub(super) kernel: &'a Kernel,
    /// Archive of the root file system.
    pub(super) root: &'a Path,
    /// Directory for the files of this guest; created if it does not exist.
    pub(super) directory: &'a Path,
    /// Whether to run the brief tests only.
    pub(super) brief: bool,
    /// Whether to print the console output.
    pub(super) verbose: bool,
}

impl Guest<'_> {
    /// Boots the guest and returns its report after it has powered off. `configurations` are some
    /// of [`CONFIGURATIONS`].
    pub(super) fn run(&self, configurations: &[&str]) -> Result<Report> {
        let tests = suite::test_names(self.brief);
        let parameters = format!(
            "reprise.configurations={} reprise.tests={}",
            configurations.join(";"),
            tests.join(";")
        );
        let mut report = Report::new(configurations.len(), tests.len());
        let booted = self.boot(&parameters, |line| report.add_line(line))?;
        ensure!(booted, "{}; report so far:\n{report}", self.unfinished());
        Ok(report)
    }

    /// Boots the guest locked down for confidentiality and returns its report.
    pub(super) fn run_locked_down(&self) -> Result<LockdownReport> {
        let mut report = LockdownReport::default();
        // A crash ends the guest.
        let parameters = "lockdown=confidentiality oops=panic";
        let booted = self.boot(parameters, |line| report.add_line(line))?;
        ensure!(booted, "{}; report so far:\n{report}", self.unfinished());
        Ok(report)
    }

    fn unfinished(&self) -> String {
        let release = &self.kernel.release;
        format!("interrupted, or Linux {release} did not end within {TIMEOUT:?}")
    }

    /// Boots the kernel with these additional parameters and passes the lines of the console to
    /// `add_line` until the guest ends; false if it was interrupted or did not end in time.
    fn boot(&self, parameters: &str, add_line: impl FnMut(&str)) -> Result<bool> {
        announce(&format!("booting Linux {}", self.kernel.release));
        fs::create_dir_all(self.directory).context("failed to create the guest's directory")?;
        let initrd = self.initrd()?;
        let console = self.directory.join("console");
        let parameters = format!("console=ttyS0 quiet panic=-1 random.trust_cpu=on {parameters}");
        let mut qemu = self.qemu(&initrd, &parameters);
        qemu.stdin(Stdio::null())
            .stdout(File::create(&console).context("failed to create the console file")?)
            .stderr(Stdio::inherit());
        let mut guest = Process::spawn("QEMU", &mut qemu)?;
        self.read_console(&console, &mut guest, add_line)
    }

    /// Returns the command line of QEMU.
    fn qemu(&self, initrd: &Path, parameters: &str) -> Command {
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
            .arg(initrd)
            .args(["-append", parameters]);
        qemu
    }

    /// Writes the initrd: the archive of the root file system, followed by that of the kernel's
    /// modules. The kernel unpacks concatenated archives.
    fn initrd(&self) -> Result<PathBuf> {
        let path = self.directory.join("initrd");
        let mut initrd = File::create(&path).context("failed to create the initrd")?;
        let parts = [Some(self.root), self.kernel.modules.as_deref()];
        for part in parts.into_iter().flatten() {
            let bytes =
                fs::read(part).with_context(|| format!("failed to read {}", part.display()))?;
            initrd
                .write_all(&bytes)
                .context("failed to write the initrd")?;
        }
        Ok(path)
    }

    /// Passes the lines of the console to `add_line` until the guest ends; false if it was
    /// interrupted or did not end in time.
    fn read_console(
        &self,
        path: &Path,
        guest: &mut Process,
        mut add_line: impl FnMut(&str),
    ) -> Result<bool> {
        let start = Instant::now();
        let mut console =
            BufReader::new(File::open(path).context("failed to open the console file")?);
        let mut line = Vec::new();
        loop {
            let has_ended = guest.exit_status()?.is_some();
            while console
                .read_until(b'\n', &mut line)
                .context("failed to read the console")?
                > 0
            {
                if !line.ends_with(b"\n") && !has_ended {
                    break;
                }
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if self.verbose {
                    println!("    {text}");
                }
                add_line(&text);
                line.clear();
            }
            if has_ended {
                return Ok(true);
            }
            if start.elapsed() > TIMEOUT || interrupt::received() {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}
