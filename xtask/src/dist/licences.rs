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

/// What the programs in the kernel are compiled for.
const BPF: &str = "bpfel-unknown-none";

/// How the names of files with texts begin.
const FILES: [&str; 6] = [
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];

const HEAD: &str = "\
Others' work in the binary `reprise`: the packages of crates.io that it is built from, with all optional ones, each with the licence
that it declares; below them the texts that they carry, each once. Where a package leaves a choice (OR), one of its licences is enough. The standard library of Rust is linked
in too: MIT or Apache-2.0, at your choice (https://github.com/rust-lang/rust, COPYRIGHT).
";

/// A package in the binary.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
    home: String,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// The document.
pub(super) fn text() -> Result<String> {
    let mut cargo = paths::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked"]);
    cargo.arg("--all-features");
    // What is left out on this machine is not in the binary either.
    cargo.args(["--filter-platform", &host()?, "--filter-platform", BPF]);
    let output = cargo.output().context("failed to start cargo")?;
    ensure!(output.status.success(), "failed: {}", command_line(&cargo));
    let metadata = serde_json::from_slice(&output.stdout).context("failed to read the metadata")?;
    let packages = linked(&metadata)?;
    let mut texts = BTreeMap::<String, Vec<String>>::new();
    for (package, directory) in &packages {
        for text in texts_in(directory)? {
            texts.entry(text).or_default().push(package.to_string());
        }
    }
    Ok(document(packages.keys(), &texts))
}

fn document<'a>(
    packages: impl Iterator<Item = &'a Package>,
    texts: &BTreeMap<String, Vec<String>>,
) -> String {
    let told: BTreeSet<_> = texts.values().flatten().collect();
    let mut document = format!("{HEAD}\n");
    for package in packages {
        document += &format!("{package}: {}, {}", package.licence, package.home);
        if !told.contains(&package.to_string()) {
            document += " (the package carries no text)";
        }
        document.push('\n');
    }
    for (text, of) in texts {
        let rule = "=".repeat(100);
        document += &format!("\n{rule}\n{}\n{rule}\n\n{text}\n", of.join(", "));
    }
    document
}

/// Packages of others that the roots need at run time, by any way, and where their sources lie.
fn linked(metadata: &Value) -> Result<BTreeMap<Package, &Path>> {
    let by_id = |list: &'_ Value| -> Result<BTreeMap<String, Value>> {
        let list = list.as_array().context("failed to find the packages")?;
        let named = |one: &Value| Some((one["id"].as_str()?.to_owned(), one.clone()));
        Ok(list.iter().filter_map(named).collect())
    };
    let nodes = by_id(&metadata["resolve"]["nodes"])?;
    let packages = metadata["packages"].as_array();
    let packages = packages.context("failed to find the packages")?;
    let text = |package: &Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let roots = packages.iter().filter(|package| {
        let name = package["name"].as_str().unwrap_or_default();
        package["source"].is_null() && ROOTS.contains(&name)
    });
    let mut open: Vec<_> = roots.map(|package| text(package, "id")).collect();
    let mut seen: BTreeSet<_> = open.iter().cloned().collect();
    while let Some(id) = open.pop() {
        let dependencies = nodes.get(&id).map(|node| &node["deps"]);
        for one in dependencies.and_then(Value::as_array).into_iter().flatten() {
            // Those of builds and of tests have a kind.
            let kinds = one["dep_kinds"].as_array().into_iter().flatten();
            let normal = kinds.clone().any(|kind| kind["kind"].is_null());
            let id = text(one, "pkg");
            if normal && seen.insert(id.clone()) {
                open.push(id);
            }
        }
    }
    let others = packages
        .iter()
        .filter(|package| seen.contains(&text(package, "id")) && !package["source"].is_null());
    others
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
            let directory = manifest.parent().context("failed to find a package")?;
            let home = match text(package, "repository") {
                none if none.is_empty() => {
                    format!("https://crates.io/crates/{}", text(package, "name"))
                }
                home => home,
            };
            let described = Package {
                name: text(package, "name"),
                version: text(package, "version"),
                licence: text(package, "license"),
                home,
            };
            Ok((described, directory))
        })
        .collect()
}

/// The texts that a package carries.
fn texts_in(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("failed to list {}", directory.display()))?;
    let files = entries.flatten().filter(|entry| {
        let name = entry.file_name().to_string_lossy().to_uppercase();
        FILES.iter().any(|begin| name.starts_with(begin)) && entry.path().is_file()
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

/// The triple that the binary is built for: this machine's.
fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("failed to start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("failed to ask rustc for its host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_linked_is_followed_and_nothing_else() {
        let package = |name: &str, source: Option<&str>| {
            json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT", "source": source,
                   "repository": null, "manifest_path": format!("/{name}/Cargo.toml")})
        };
        let needs =
            |id: &str, kind: Option<&str>| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        let registry = Some("registry");
        let metadata = json!({
            "packages": [package("reprise", None), package("direct", registry), package("deep", registry),
                         package("build", registry), package("other", registry)],
            "resolve": {"nodes": [
                {"id": "reprise", "deps": [needs("direct", None), needs("build", Some("build"))]},
                {"id": "direct", "deps": [needs("deep", None)]},
                {"id": "deep", "deps": []}, {"id": "build", "deps": []}, {"id": "other", "deps": []},
            ]},
        });
        let found = linked(&metadata).unwrap();
        let names: Vec<_> = found.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["deep 1.0.0", "direct 1.0.0"]);
        let texts = BTreeMap::from([(
            "Permission is granted".to_owned(),
            vec!["deep 1.0.0".to_owned()],
        )]);
        let text = document(found.keys(), &texts);
        assert!(text.contains(
            "direct 1.0.0: MIT, https://crates.io/crates/direct (the package carries no text)\n"
        ));
        assert!(text.contains("deep 1.0.0: MIT, https://crates.io/crates/deep\n"));
        assert!(text.ends_with("\n\nPermission is granted\n"), "{text}");
    }
}
