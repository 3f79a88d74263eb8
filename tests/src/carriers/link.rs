//! Links libraries and programs from compiled objects, and creates stripped copies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::objects::crypto_objects;
use super::release::Variant;
use crate::process::run;

/// Turns the objects into a program, which is never run.
const MAIN: &str = "int main(void) { return 0; }\n";

/// Links the objects in `work` and writes the results to the directories `whole` and `stripped` in
/// `made`.
pub(super) fn link(sources: &Path, work: &Path, made: &Path, variant: Variant) {
    let whole = made.join("whole");
    fs::create_dir(&whole).expect("failed to create a directory");
    let makefile = fs::read_to_string(work.join("Makefile")).expect("failed to read the Makefile");
    let crypto: Vec<PathBuf> = crypto_objects(&makefile)
        .iter()
        .map(|object| work.join(object))
        .collect();
    let mut ssl = Vec::new();
    objects_below(&work.join("ssl"), &mut ssl);
    if variant.is_program() {
        fs::write(work.join("main.c"), MAIN).expect("failed to write a program");
        let mut gcc = linker(work, variant);
        gcc.args(["-no-pie", "main.c"]);
        match variant {
            Variant::Stripped => gcc.arg("-static"),
            _ => gcc.arg("-rdynamic"),
        };
        run(gcc
            .args(ssl)
            .args(crypto)
            .arg("-o")
            .arg(whole.join("program")));
    } else {
        let number = release_number(sources);
        for (name, objects) in [("libssl", ssl), ("libcrypto", crypto)] {
            let list = format!("util/{name}.num");
            let list = fs::read_to_string(sources.join(list)).expect("failed to read the exports");
            fs::write(work.join("exports"), exports(&list)).expect("failed to write the exports");
            let file = format!("{name}.so.{number}");
            let mut gcc = linker(work, variant);
            gcc.args(["-shared", "-Wl,-Bsymbolic", "-Wl,--version-script=exports"])
                .arg(format!("-Wl,-soname,{file}"));
            run(gcc.args(objects).arg("-o").arg(whole.join(file)));
        }
    }
    strip(&whole, &made.join("stripped"), variant);
}

fn linker(work: &Path, variant: Variant) -> Command {
    let mut gcc = Command::new(format!("{}gcc", variant.tools()));
    gcc.current_dir(work)
        .args([
            "-g",
            "-Wl,--build-id",
            "-Wl,-z,relro",
            "-Wl,--unresolved-symbols=ignore-all",
        ])
        .args(variant.flags());
    gcc
}

/// Returns a linker script that exports the functions in the release's list and hides all others.
fn exports(list: &str) -> String {
    let names: String = list
        .lines()
        .filter(|line| line.contains("EXIST"))
        .filter_map(|line| line.split_whitespace().next())
        .map(|name| format!("{name};\n"))
        .collect();
    format!("{{ global:\n{names}local: *; }};\n")
}

/// Returns the suffix of the library's name after `.so.`.
fn release_number(sources: &Path) -> String {
    let header = [
        "include/openssl/opensslv.h",
        "include/openssl/opensslv.h.in",
    ];
    let old = fs::read_to_string(sources.join(header[0])).unwrap_or_default();
    if let Some((_, rest)) = old.split_once("define SHLIB_VERSION_NUMBER \"") {
        return rest.split('"').next().unwrap_or_default().to_owned();
    }
    let version =
        fs::read_to_string(sources.join("VERSION.dat")).expect("failed to read VERSION.dat");
    let number = version
        .lines()
        .find_map(|line| line.strip_prefix("SHLIB_VERSION="));
    number.expect("VERSION.dat has a number").to_owned()
}

fn strip(whole: &Path, stripped: &Path, variant: Variant) {
    fs::create_dir(stripped).expect("failed to create a directory");
    for entry in fs::read_dir(whole).expect("failed to list what was linked") {
        let from = entry.expect("failed to list what was linked").path();
        let to = stripped.join(from.file_name().expect("a file has a name"));
        let strip = format!("{}strip", variant.tools());
        run(Command::new(strip).arg("-s").arg("-o").arg(to).arg(from));
    }
}

fn objects_below(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("failed to list the objects") {
        let path = entry.expect("failed to list the objects").path();
        if path.is_dir() {
            objects_below(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "o") {
            into.push(path);
        }
    }
    into.sort();
}
