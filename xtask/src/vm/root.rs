//! The root file system of the guests: programs of this machine with their libraries, the agent
//! and the tests.
//!
//! The kernel unpacks the archive into memory, so that a guest needs neither a disk nor a driver.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{cpio, suite::TestBinary};
use crate::{paths, steps::announce};

/// Programs in the guests.
const PROGRAMS: &[&str] = &[
    "bash", "openssl", "curl", "nft", "ip", "kmod", "unshare", "setpriv", "busybox",
];

/// Debian's Python, which uses the OpenSSL of the system; other installations may bring their own.
const PYTHON: &str = "/usr/bin/python3";

/// Commands that busybox implements.
const APPLETS: &[&str] = &[
    "sh", "mount", "umount", "cat", "ls", "sleep", "poweroff", "mkdir", "dmesg", "grep", "awk",
    "sed", "date", "echo", "kill", "uname", "head", "tail", "wc", "sysctl", "timeout", "seq",
    "cut", "rm", "rmdir", "ln", "id", "env", "true", "false", "stat", "sort", "cp", "tr", "mv",
    "touch",
];

/// Libraries that programs load at run time with `dlopen`.
const DLOPEN_LIBRARIES: &[&str] = &["libgcc_s.so.1", "libnss_files.so.2"];

/// Modules of Python's standard library that the tests do not import.
const EXCLUDED_PYTHON_MODULES: &[&str] = &[
    "test",
    "tests",
    "idlelib",
    "ensurepip",
    "lib2to3",
    "pydoc_data",
    "turtledemo",
    "tkinter",
    "__pycache__",
    "distutils",
    "unittest",
    "xmlrpc",
];

const INIT: &str = include_str!("init.sh");
const LOCKDOWN: &str = include_str!("lockdown.sh");
const SMOKE: &str = include_str!("smoke.sh");

/// Builds the root file system and its archive in `directory`.
pub(super) fn build(directory: &Path, agent: &Path, tests: &[TestBinary]) -> Result<PathBuf> {
    announce("packing the root file system of the guests");
    let root = Root(directory.join("root"));
    root.directories()?;
    root.programs(agent, tests)?;
    root.files()?;
    let archive = directory.join("root.cpio");
    cpio::pack(&root.0, &archive)?;
    Ok(archive)
}

/// Directory of the root file system.
struct Root(PathBuf);

impl Root {
    /// Creates the directories.
    fn directories(&self) -> Result<()> {
        for path in [
            "dev",
            "etc/ssl",
            "mnt",
            "proc",
            "root",
            "run",
            "sys",
            "t",
            "tmp",
            "usr/bin",
            "usr/lib/ssl",
        ] {
            fs::create_dir_all(self.0.join(path)).context("failed to create a directory")?;
        }
        // The layout of Debian since 12: all programs and libraries are in /usr.
        for (link, target) in [
            ("bin", "usr/bin"),
            ("lib", "usr/lib"),
            ("lib64", "usr/lib64"),
            ("sbin", "usr/sbin"),
        ] {
            fs::create_dir_all(self.0.join(target)).context("failed to create a directory")?;
            symlink(target, self.0.join(link)).context("failed to link a directory")?;
        }
        Ok(())
    }

    /// Copies all programs with their libraries.
    fn programs(&self, agent: &Path, tests: &[TestBinary]) -> Result<()> {
        for program in PROGRAMS {
            let path = xtask::toolchain::in_path(program)
                .with_context(|| format!("failed to find the program {program}"))?;
            self.program(&path)?;
        }
        self.python()?;
        for applet in APPLETS {
            symlink("/usr/bin/busybox", self.0.join("usr/bin").join(applet))
                .with_context(|| format!("failed to link {applet}"))?;
        }
        // The kernel loads modules with this program.
        symlink("/usr/bin/kmod", self.0.join("usr/sbin/modprobe"))
            .context("failed to link modprobe")?;
        for library in DLOPEN_LIBRARIES {
            self.library_by_name(library)?;
        }
        self.program_as(agent, "/t/reprise")?;
        for test in tests {
            self.program_as(&test.path, &format!("/t/{}", test.name))?;
        }
        Ok(())
    }

    /// Writes the scripts, the configuration and the fixtures of the tests.
    fn files(&self) -> Result<()> {
        self.tree(&paths::workspace().join("tests/fixtures"), &["node"])?;
        self.text("init", INIT, 0o755)?;
        self.text("t/lockdown.sh", LOCKDOWN, 0o755)?;
        self.text("t/smoke.sh", SMOKE, 0o755)?;
        self.text("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n", 0o644)?;
        self.text("etc/group", "root:x:0:\n", 0o644)?;
        self.text("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", 0o644)?;
        self.text("etc/nsswitch.conf", "hosts: files\n", 0o644)?;
        self.copy(Path::new("/etc/ssl/openssl.cnf"))?;
        symlink(
            "/etc/ssl/openssl.cnf",
            self.0.join("usr/lib/ssl/openssl.cnf"),
        )
        .context("failed to link OpenSSL's configuration")
    }

    /// Returns the destination of this machine's file `path`. Both may have `/bin` or `/usr/bin`;
    /// the guest has only `/usr/bin`.
    fn destination(&self, path: &Path) -> PathBuf {
        let path = path.strip_prefix("/").unwrap_or(path);
        let merged = ["bin", "lib", "lib64", "sbin"]
            .iter()
            .any(|top| path.starts_with(top));
        if merged {
            self.0.join("usr").join(path)
        } else {
            self.0.join(path)
        }
    }

    fn copy_to(&self, from: &Path, to: &Path) -> Result<()> {
        fs::create_dir_all(to.parent().unwrap_or(&self.0))
            .context("failed to create a directory")?;
        fs::copy(from, to).with_context(|| format!("failed to copy {}", from.display()))?;
        Ok(())
    }

    /// Copies a file to the same path.
    fn copy(&self, path: &Path) -> Result<()> {
        self.copy_to(path, &self.destination(path))
    }

    /// Writes a file with `text`.
    fn text(&self, path: &str, text: &str, mode: u32) -> Result<()> {
        let path = self.0.join(path);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).context("failed to set a mode")
    }

    /// Copies a program to the same path, with its libraries.
    fn program(&self, path: &Path) -> Result<()> {
        let path = fs::canonicalize(path.parent().unwrap_or(path))
            .unwrap_or_default()
            .join(path.file_name().unwrap_or_default());
        self.program_as(&path, &path.to_string_lossy())
    }

    fn program_as(&self, from: &Path, to: &str) -> Result<()> {
        self.copy_to(from, &self.destination(Path::new(to)))?;
        self.libraries(from)
    }

    /// Copies the libraries that the dynamic linker loads for `binary`.
    fn libraries(&self, binary: &Path) -> Result<()> {
        let output = Command::new("ldd")
            .arg(binary)
            .output()
            .context("failed to start ldd")?;
        // ldd fails for static programs, which need no libraries.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let libraries: BTreeSet<_> = text
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .collect();
        for library in libraries {
            let library = Path::new(library);
            if !self.destination(library).exists() {
                self.copy(library)?;
            }
        }
        Ok(())
    }

    /// Copies a library that the dynamic linker finds by name.
    fn library_by_name(&self, name: &str) -> Result<()> {
        let output = Command::new("ldconfig")
            .arg("-p")
            .output()
            .context("failed to start ldconfig")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(name) && line.contains("x86-64"));
        match line.and_then(|line| line.rsplit(' ').next()) {
            Some(path) => self.copy(Path::new(path)),
            // Newer versions of glibc contain it.
            None => Ok(()),
        }
    }

    /// Copies Python with its standard library, and the libraries of its extension modules.
    fn python(&self) -> Result<()> {
        self.program(Path::new(PYTHON))?;
        let print = "import sysconfig; print(sysconfig.get_path('stdlib'))";
        let output = Command::new(PYTHON).args(["-c", print]).output();
        let output = output.context("failed to start python3")?;
        ensure!(
            output.status.success(),
            "failed to find Python's standard library"
        );
        let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        self.tree(&directory, EXCLUDED_PYTHON_MODULES)?;
        for entry in fs::read_dir(directory.join("lib-dynload"))
            .context("failed to list the extension modules")?
            .flatten()
        {
            self.libraries(&entry.path())?;
        }
        Ok(())
    }

    /// Copies a directory to the same path, without the entries in `excluded`.
    fn tree(&self, from: &Path, excluded: &[&str]) -> Result<()> {
        for entry in fs::read_dir(from)
            .with_context(|| format!("failed to list {}", from.display()))?
            .flatten()
        {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if excluded.contains(&name.as_str()) || name.starts_with("config-") {
                continue;
            }
            if path.is_dir() {
                self.tree(&path, excluded)?;
            } else if path.is_file() {
                self.copy(&path)?;
            }
        }
        Ok(())
    }
}
