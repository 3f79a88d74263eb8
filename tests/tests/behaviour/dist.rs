//! The release archive: complete, reproducible, with the right checksum, and its binary runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reprise_tests::binary::binary;
use reprise_tests::process::run;
use tempfile::TempDir;

/// Packs the binary under test into a directory; returns the path of the archive.
fn dist(output: &Path) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--package", "xtask", "--manifest-path"]);
    cargo.arg(manifest).args(["--", "dist", "--agent"]);
    let stdout = run(cargo.arg(binary()).arg("--output").arg(output));
    let archive = stdout.lines().next().expect("no archive");
    assert!(archive.ends_with("-linux.tar.gz"), "{stdout}");
    archive.into()
}

#[test]
fn the_archive_is_complete_and_reproducible() {
    let directories = [(); 2].map(|()| TempDir::new().expect("failed to create a directory"));
    let [first, second] = directories
        .each_ref()
        .map(|directory| dist(directory.path()));
    let bytes = |path: &Path| fs::read(path).expect("failed to read an archive");
    assert!(
        bytes(&first) == bytes(&second),
        "two archives of the same differ"
    );

    let at = directories[0].path();
    let mut check = Command::new("sha256sum");
    run(check
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(at));
    let listed = fs::read_dir(at).expect("no directory").count();
    assert_eq!(listed, 2, "more than the archive and its sum");

    run(Command::new("tar")
        .args(["--extract", "--file"])
        .arg(&first)
        .current_dir(at));
    let name = first.file_name().and_then(|name| name.to_str());
    let name = name
        .and_then(|name| name.strip_suffix(".tar.gz"))
        .expect("no name");
    let root = at.join(name);
    let stdout = run(Command::new(root.join("reprise")).arg("--version"));
    let version = stdout.trim().strip_prefix("reprise ").expect("no version");
    assert!(name.contains(version), "{name}: {stdout}");
    for file in [
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "README.md",
        "deploy/systemd/reprise.service",
        "deploy/kubernetes/kustomization.yaml",
        "deploy/helm/reprise/Chart.yaml",
        "deploy/Containerfile",
        "dashboards/reprise-overview.json",
        "dashboards/rules/alerts.yaml",
        "docs/operating.md",
    ] {
        assert!(root.join(file).is_file(), "{file} is missing");
    }
    let others = fs::read_to_string(root.join("LICENSES-THIRD-PARTY.txt")).expect("no licences");
    for package in ["aya 0.", "aya-ebpf 0.", "rustls 0.", "tokio 1."] {
        assert!(others.contains(&format!("\n{package}")), "no {package}");
    }
    assert!(others.contains("WITHOUT WARRANTY OF ANY KIND"), "no texts");
    // Its help equals that of the binary under test: stripping has removed nothing that it needs.
    let help = |program: &Path| run(Command::new(program).args(["run", "--help"]));
    assert_eq!(help(&root.join("reprise")), help(&binary()));
}

/// A test cannot pull the base image, so the file's contents are compared with the repository.
#[test]
fn the_image_matches_version_and_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("deploy/Containerfile")).expect("no Containerfile");
    let stdout = run(Command::new(binary()).arg("--version"));
    let version = stdout.trim().strip_prefix("reprise ").expect("no version");
    assert!(
        text.contains(&format!("image.version=\"{version}\"")),
        "not of {version}"
    );
    let json = |word: &str| -> Vec<String> {
        let line = text.lines().find_map(|line| line.strip_prefix(word));
        serde_json::from_str(line.expect("no such instruction")).expect("no JSON")
    };
    assert_eq!(json("ENTRYPOINT "), ["/reprise"]);
    assert!(text.contains("COPY --from=build /reprise /reprise"));
    // The DaemonSet specifies the flags, the image only the program.
    let daemon_set = fs::read_to_string(root.join("deploy/kubernetes/daemonset.yaml"));
    let args = json("CMD ")
        .join(", ")
        .replace("0.0.0.0:9797", "\"0.0.0.0:9797\"");
    let args = format!("args: [{args}");
    assert!(daemon_set.expect("no DaemonSet").contains(&args), "{args}");
}
