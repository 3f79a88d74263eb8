//! Paths, commands, flags and panel titles in the docs exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory as _;

use super::{read, texts};
use crate::{Cli, paths};

/// Help texts of the agent's commands, which the agent's unit tests keep up to date.
const AGENT_HELP: &str = "agent/src/commands/cli.golden.txt";

/// Top-level directories that are not source: build outputs and the repository itself.
const NO_SOURCE: &[&str] = &["target", ".git"];

/// Endings of file names that the docs mention.
const FILE_KINDS: &[&str] = &[
    "rs", "md", "toml", "yaml", "json", "py", "js", "service", "conf", "txt",
];

/// Returns every Markdown file among the docs.
fn pages() -> Vec<(PathBuf, String)> {
    let is_markdown = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "md");
    let files = texts().into_iter().filter(is_markdown);
    files
        .map(|path| {
            let text = read(&path);
            (path, text)
        })
        .collect()
}

/// Returns the code of a page: text in backquotes, and the lines of fenced blocks. A line that ends
/// with a backslash continues on the next one.
fn code(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, block) in page.split("```").enumerate() {
        if number % 2 == 1 {
            let block = block.replace("\\\n", " ");
            found.extend(block.lines().map(str::to_owned));
        } else {
            let spans = block.split('`').skip(1).step_by(2);
            found.extend(spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    found
}

/// Returns the paths of all source files, relative to the workspace.
fn source_files() -> Vec<String> {
    let root = paths::workspace();
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap().flatten() {
            let path = entry.path();
            let relative = path.strip_prefix(&root).unwrap().display().to_string();
            if NO_SOURCE.iter().any(|name| relative.ends_with(name)) {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            }
            found.push(relative);
        }
    }
    found
}

/// Whether a word names a file or directory of the repository.
fn is_path(root: &Path, word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    // Words in capitals, as in `tests/NAME.rs`, are placeholders.
    let is_placeholder = |part: &str| part.len() > 1 && !part.contains(char::is_lowercase);
    if !word.chars().all(plain) || word.starts_with(['/', '-', '.']) {
        return false;
    }
    if word.split(['/', '.']).any(is_placeholder) && !word.ends_with(".md") {
        return false;
    }
    let first = word.split('/').next().unwrap_or_default();
    let kind = word.rsplit('.').next().unwrap_or_default();
    let has_kind = word.contains('.') && FILE_KINDS.contains(&kind);
    (word.contains('/') && root.join(first).is_dir() && first != "target")
        || (has_kind && kind == "rs")
}

#[test]
fn every_path_in_the_docs_exists() {
    let root = paths::workspace();
    let files = source_files();
    let exists = |word: &str| {
        let word = word.trim_end_matches('/');
        let end = format!("/{word}");
        root.join(word).exists() || files.iter().any(|file| file.ends_with(&end))
    };
    let mut checked = 0;
    let mut missing = Vec::new();
    for (page, text) in pages() {
        for line in code(&text) {
            for word in line.split([' ', '=']).filter(|word| is_path(&root, word)) {
                checked += 1;
                // A path in a page may be relative to the page.
                if !exists(word) && !page.with_file_name(word).exists() {
                    missing.push(format!("{}: {word}", page.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "no such path: {missing:#?}");
    assert!(checked > 60, "{checked}");
}

/// Returns the flags in a text: words of two hyphens and a name.
fn flags(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| word.starts_with("--") && word.len() > 3)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_and_flag_in_the_docs_exists() {
    let agent = read(&paths::workspace().join(AGENT_HELP));
    let agent_commands: Vec<_> = agent
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .collect();
    let agent_flags = flags(&agent);
    let mut cli = Cli::command();
    let mut xtask_commands = Vec::new();
    let mut xtask_flags = BTreeSet::new();
    for command in cli.get_subcommands_mut() {
        xtask_commands.push(command.get_name().to_owned());
        xtask_flags.extend(flags(&command.render_long_help().to_string()));
    }
    let mut checked = 0;
    for (page, text) in pages() {
        for line in code(&text) {
            let line = line.trim_start_matches(['#', '$', ' ']);
            let words: Vec<_> = line.split_whitespace().collect();
            let known_flags: &[&BTreeSet<String>] = match words.as_slice() {
                ["cargo", "xtask", command, ..] => {
                    let known = xtask_commands.iter().any(|known| known == command);
                    assert!(known, "{}: {line}", page.display());
                    &[&xtask_flags]
                }
                ["reprise", command, ..] if !command.starts_with('-') => {
                    let known = agent_commands.contains(command);
                    assert!(known, "{}: {line}", page.display());
                    &[&agent_flags]
                }
                [flag, ..] if flag.starts_with("--") => &[&agent_flags, &xtask_flags],
                _ => continue,
            };
            let command = line.split(" # ").next().unwrap_or_default();
            for flag in flags(command) {
                let known = known_flags.iter().any(|known| known.contains(&flag));
                assert!(known, "{}: {flag} in {line}", page.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 60, "{checked}");
}

/// Each `cargo test`, `cargo bench` and `cargo build` names existing packages, targets and tests.
#[test]
fn every_cargo_command_in_the_docs_names_existing_targets() {
    let files = source_files();
    let root = paths::workspace();
    let sources = |end: &str| {
        let matching = files.iter().filter(|file| file.ends_with(end));
        matching.map(|file| read(&root.join(file))).collect()
    };
    let manifests: String = sources("Cargo.toml");
    let code_of_tests: String = sources(".rs");
    let mut checked = 0;
    for (page, text) in pages() {
        for line in code(&text) {
            let Some((_, command)) = line.split_once("cargo ") else {
                continue;
            };
            let words: Vec<_> = command.split_whitespace().collect();
            for pair in words.windows(2) {
                let target = |directory: &str| {
                    let ends = [
                        format!("/{directory}/{}.rs", pair[1]),
                        format!("/{directory}/{}/main.rs", pair[1]),
                    ];
                    files
                        .iter()
                        .any(|file| ends.iter().any(|end| file.ends_with(end.as_str())))
                };
                let exists = match pair[0] {
                    "-p" | "--package" => manifests.contains(&format!("name = \"{}\"", pair[1])),
                    "--test" => target("tests"),
                    "--bench" => target("benches"),
                    _ => continue,
                };
                assert!(exists, "{}: {} in {line}", page.display(), pair[1]);
                checked += 1;
            }
            for (module, test) in words.iter().filter_map(|word| word.rsplit_once("::")) {
                let name = match test {
                    "" => format!("mod {module};"),
                    test => format!("fn {test}("),
                };
                assert!(code_of_tests.contains(&name), "{}: {line}", page.display());
            }
        }
    }
    assert!(checked > 8, "{checked}");
}

/// Runbooks and alerts name dashboards and panels by their titles, runbooks in italics.
#[test]
fn every_panel_in_a_runbook_exists() {
    let root = paths::workspace();
    let mut titles = BTreeSet::new();
    for dashboard in super::super::dashboards::all() {
        let json = dashboard.json().unwrap();
        titles.extend(json.lines().filter_map(|line| {
            let title = line.trim().strip_prefix("\"title\": \"")?;
            let title = title.trim_end_matches([',', '"']);
            Some(title.trim_start_matches("Reprise / ").to_owned())
        }));
    }
    let mut checked = 0;
    for entry in fs::read_dir(root.join("docs/runbooks")).unwrap().flatten() {
        let text = read(&entry.path());
        for title in text.split('*').skip(1).step_by(2) {
            let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
            let page = entry.path();
            assert!(titles.contains(&title), "{}: {title}", page.display());
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
}
