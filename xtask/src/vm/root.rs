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

use super::{cpio, guest::Test};
use crate::{
    paths,
    steps::{Log, announce},
};

/// Programs of the guests.
const PROGRAMS: &[&str] = &[
    "bash", "openssl", "curl", "nft", "ip", "kmod", "unshare", "setpriv", "busybox",
];

/// The distribution's Python, as the tests use it: a version manager's would have another OpenSSL.
const PYTHON: &str = "/usr/bin/python3";

/// Names under which busybox serves.
const APPLETS: &[&str] = &[
    "sh", "mount", "umount", "cat", "ls", "sleep", "poweroff", "mkdir", "dmesg", "grep", "awk",
    "sed", "date", "echo", "kill", "uname", "head", "tail", "wc", "sysctl", "timeout", "seq",
    "cut", "rm", "ln", "id", "env", "true", "false", "stat", "sort", "cp", "tr", "mv", "touch",
];

/// Libraries that are loaded by name at run time.
const LOADED: &[&str] = &["libgcc_s.so.1", "libnss_files.so.2"];

/// What Python has beside the interpreter, without what no test imports.
const PYTHON_LEFT_OUT: &[&str] = &[
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
const SMOKE: &str = include_str!("smoke.sh");

/// Builds the archive below `directory`.
pub(super) fn build(_: &Log, directory: &Path, agent: &Path, tests: &[Test]) -> Result<PathBuf> {
    announce("packing the guests' root");
    let root = Root(directory.join("root"));
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
        fs::create_dir_all(root.0.join(path)).context("failed to create a directory")?;
    }
    // As the distribution has it: libraries under one roof.
    for (link, target) in [
        ("bin", "usr/bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
        ("sbin", "usr/sbin"),
    ] {
        fs::create_dir_all(root.0.join(target)).context("failed to create a directory")?;
        symlink(target, root.0.join(link)).context("failed to link a directory")?;
    }
    for program in PROGRAMS {
        let path = xtask::toolchain::in_path(program)
            .with_context(|| format!("failed to find {program} for the guests"))?;
        root.program(&path)?;
    }
    root.python()?;
    for applet in APPLETS {
        symlink("/usr/bin/busybox", root.0.join("usr/bin").join(applet))
            .with_context(|| format!("failed to link {applet}"))?;
    }
    // The kernel itself asks for modules by this name.
    symlink("/usr/bin/kmod", root.0.join("usr/sbin/modprobe"))
        .context("failed to link modprobe")?;
    for library in LOADED {
        root.library_named(library)?;
    }
    root.program_as(agent, "/t/reprise")?;
    for test in tests {
        root.program_as(&test.binary, &format!("/t/{}", test.name))?;
    }
    root.tree(&paths::workspace().join("tests/fixtures"), &["node"])?;
    root.text("init", INIT, 0o755)?;
    root.text("t/smoke.sh", SMOKE, 0o755)?;
    root.text("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n", 0o644)?;
    root.text("etc/group", "root:x:0:\n", 0o644)?;
    root.text("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", 0o644)?;
    root.text("etc/nsswitch.conf", "hosts: files\n", 0o644)?;
    root.copy(Path::new("/etc/ssl/openssl.cnf"))?;
    symlink(
        "/etc/ssl/openssl.cnf",
        root.0.join("usr/lib/ssl/openssl.cnf"),
    )
    .context("failed to link OpenSSL's settings")?;
    let archive = directory.join("root.cpio");
    cpio::pack(&root.0, &archive)?;
    Ok(archive)
}

struct Root(PathBuf);

impl Root {
    /// Returns the destination of this machine's file `path`. Both may have `/bin` or `/usr/bin`;
    /// the guest has only `/usr/bin`.
    fn inside(&self, path: &Path) -> PathBuf {
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

    fn copy(&self, path: &Path) -> Result<()> {
        self.copy_to(path, &self.inside(path))
    }

    fn text(&self, path: &str, text: &str, mode: u32) -> Result<()> {
        let path = self.0.join(path);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).context("failed to set a mode")
    }

    fn program(&self, path: &Path) -> Result<()> {
        let path = fs::canonicalize(path.parent().unwrap_or(path))
            .unwrap_or_default()
            .join(path.file_name().unwrap_or_default());
        self.program_as(&path, &path.to_string_lossy())
    }

    fn program_as(&self, from: &Path, to: &str) -> Result<()> {
        self.copy_to(from, &self.inside(Path::new(to)))?;
        self.libraries(from)
    }

    /// The libraries that the dynamic linker names for a file.
    fn libraries(&self, of: &Path) -> Result<()> {
        let output = Command::new("ldd")
            .arg(of)
            .output()
            .context("failed to start ldd")?;
        // Of a static program ldd says so, and fails.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words: BTreeSet<_> = text
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .collect();
        for library in words {
            let library = Path::new(library);
            if !self.inside(library).exists() {
                self.copy(library)?;
            }
        }
        Ok(())
    }

    fn library_named(&self, name: &str) -> Result<()> {
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
            // Part of the C library itself in newer ones.
            None => Ok(()),
        }
    }

    /// The interpreter's own modules, and the libraries of those that are libraries.
    fn python(&self) -> Result<()> {
        self.program(Path::new(PYTHON))?;
        let print = "import sysconfig; print(sysconfig.get_path('stdlib'))";
        let output = Command::new(PYTHON).args(["-c", print]).output();
        let output = output.context("failed to start python3")?;
        ensure!(
            output.status.success(),
            "failed to ask Python for its modules"
        );
        let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        self.tree(&directory, PYTHON_LEFT_OUT)?;
        for entry in fs::read_dir(directory.join("lib-dynload"))
            .context("failed to list modules")?
            .flatten()
        {
            self.libraries(&entry.path())?;
        }
        Ok(())
    }

    /// A directory at the same place, without entries of those names.
    fn tree(&self, from: &Path, left_out: &[&str]) -> Result<()> {
        for entry in fs::read_dir(from)
            .with_context(|| format!("failed to list {}", from.display()))?
            .flatten()
        {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if left_out.contains(&name.as_str()) || name.starts_with("config-") {
                continue;
            }
            if path.is_dir() {
                self.tree(&path, left_out)?;
            } else if path.is_file() {
                self.copy(&path)?;
            }
        }
        Ok(())
    }
}
