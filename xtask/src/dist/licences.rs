//! Licence texts of the third-party packages in the binary, which their licences require to be
//! distributed with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt, fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{paths, steps::command_line};

/// Packages whose dependencies are in the binary: the agent and the BPF programs that it embeds.
const ROOTS: [&str; 2] = ["reprise", "reprise-ebpf"];

/// Compilation target of the BPF programs.
const BPF_TARGET: &str = "bpfel-unknown-none";

/// Prefixes of the names of licence files, in upper case.
const FILE_PREFIXES: [&str; 6] = [
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];

const HEAD: &str = "\
Third-party packages in the binary `reprise`. The list contains every package of crates.io from
which the binary is built, including optional ones, with its declared licence. The licence texts in
the packages follow, each once. OR in a licence leaves the choice to you. The binary also contains
the standard library of Rust, which is licensed under MIT or Apache-2.0
(https://github.com/rust-lang/rust, COPYRIGHT).
";

/// Third-party package in the binary.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
    url: String,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Returns the list of packages, followed by the licence texts.
pub(super) fn document() -> Result<String> {
    let mut cargo = paths::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked"]);
    cargo.arg("--all-features");
    // The binary has no packages of other platforms.
    cargo.args([
        "--filter-platform",
        &host_triple()?,
        "--filter-platform",
        BPF_TARGET,
    ]);
    let output = cargo.output().context("failed to start cargo")?;
    ensure!(output.status.success(), "failed: {}", command_line(&cargo));
    let metadata =
        serde_json::from_slice(&output.stdout).context("failed to parse the metadata")?;
    let packages = linked_packages(&metadata)?;
    let mut texts = BTreeMap::<String, Vec<String>>::new();
    for (package, directory) in &packages {
        for text in licence_texts(directory)? {
            texts.entry(text).or_default().push(package.to_string());
        }
    }
    Ok(format_document(packages.keys(), &texts))
}

fn format_document<'a>(
    packages: impl Iterator<Item = &'a Package>,
    texts: &BTreeMap<String, Vec<String>>,
) -> String {
    let with_text: BTreeSet<_> = texts.values().flatten().collect();
    let mut document = format!("{HEAD}\n");
    for package in packages {
        document += &format!("{package}: {}, {}", package.licence, package.url);
        if !with_text.contains(&package.to_string()) {
            document += " (no text in the package)";
        }
        document.push('\n');
    }
    for (text, packages) in texts {
        let line = "=".repeat(100);
        document += &format!("\n{line}\n{}\n{line}\n\n{text}\n", packages.join(", "));
    }
    document
}

/// Returns the third-party packages among the direct and indirect dependencies of [`ROOTS`], with
/// their source directories.
fn linked_packages(metadata: &Value) -> Result<BTreeMap<Package, &Path>> {
    let packages = metadata["packages"].as_array();
    let packages = packages.context("failed to find the packages")?;
    let linked = linked_ids(metadata)?;
    packages
        .iter()
        .filter(|package| linked.contains(text(package, "id")) && !package["source"].is_null())
        .map(|package| {
            let directory = Path::new(text(package, "manifest_path")).parent();
            let directory = directory.context("failed to find the directory of a package")?;
            let url = match text(package, "repository") {
                "" => format!("https://crates.io/crates/{}", text(package, "name")),
                url => url.to_owned(),
            };
            let package = Package {
                name: text(package, "name").to_owned(),
                version: text(package, "version").to_owned(),
                licence: text(package, "license").to_owned(),
                url,
            };
            Ok((package, directory))
        })
        .collect()
}

/// Returns the IDs of [`ROOTS`] and of their direct and indirect dependencies.
fn linked_ids(metadata: &Value) -> Result<BTreeSet<&str>> {
    let nodes = metadata["resolve"]["nodes"].as_array();
    let nodes = nodes.context("failed to find the dependencies")?;
    let nodes: BTreeMap<_, _> = nodes.iter().map(|node| (text(node, "id"), node)).collect();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut open: Vec<_> = packages
        .filter(|package| package["source"].is_null() && ROOTS.contains(&text(package, "name")))
        .map(|package| text(package, "id"))
        .collect();
    let mut linked: BTreeSet<_> = open.iter().copied().collect();
    while let Some(id) = open.pop() {
        let dependencies = nodes.get(id).and_then(|node| node["deps"].as_array());
        for dependency in dependencies.into_iter().flatten() {
            // Build and development dependencies have a kind.
            let kinds = dependency["dep_kinds"].as_array();
            let is_linked = kinds
                .into_iter()
                .flatten()
                .any(|kind| kind["kind"].is_null());
            let id = text(dependency, "pkg");
            if is_linked && linked.insert(id) {
                open.push(id);
            }
        }
    }
    Ok(linked)
}

/// Returns a string of a JSON object, empty if absent.
fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}

/// Returns the licence texts in the source directory of a package.
fn licence_texts(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("failed to list {}", directory.display()))?;
    let files = entries.flatten().filter(|entry| {
        let name = entry.file_name().to_string_lossy().to_uppercase();
        FILE_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && entry.path().is_file()
    });
    files
        .map(|file| {
            let bytes = fs::read(file.path())
                .with_context(|| format!("failed to read {}", file.path().display()))?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
            Ok(text.trim().to_owned())
        })
        .collect()
}

/// Returns the target triple of this machine, for which the binary is built.
fn host_triple() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("failed to start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .context("failed to find the host in the version of rustc")?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_linked_packages_are_listed() {
        let package = |name: &str, source: Option<&str>| {
            json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT", "source": source,
                   "repository": null, "manifest_path": format!("/{name}/Cargo.toml")})
        };
        let dependency =
            |id: &str, kind: Option<&str>| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        let registry = Some("registry");
        let metadata = json!({
            "packages": [package("reprise", None), package("direct", registry), package("deep", registry),
                         package("build", registry), package("other", registry)],
            "resolve": {"nodes": [
                {"id": "reprise", "deps": [dependency("direct", None), dependency("build", Some("build"))]},
                {"id": "direct", "deps": [dependency("deep", None)]},
                {"id": "deep", "deps": []}, {"id": "build", "deps": []}, {"id": "other", "deps": []},
            ]},
        });
        let found = linked_packages(&metadata).unwrap();
        let names: Vec<_> = found.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["deep 1.0.0", "direct 1.0.0"]);
        let texts = BTreeMap::from([(
            "Permission is granted".to_owned(),
            vec!["deep 1.0.0".to_owned()],
        )]);
        let text = format_document(found.keys(), &texts);
        assert!(text.contains(
            "direct 1.0.0: MIT, https://crates.io/crates/direct (no text in the package)\n"
        ));
        assert!(text.contains("deep 1.0.0: MIT, https://crates.io/crates/deep\n"));
        assert!(text.ends_with("\n\nPermission is granted\n"), "{text}");
    }
}
