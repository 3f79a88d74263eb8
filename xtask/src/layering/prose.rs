//! Tests of the width of prose: comments and Markdown fit into 100 columns.

use std::path::Path;

/// Longest line of prose, columns.
const COLUMNS: usize = 100;

/// Lines of prose beyond [`COLUMNS`]: comments of Rust, text of Markdown outside tables, code and
/// lines that hold an address.
fn long_lines(file: &Path, text: &str) -> Vec<usize> {
    let rust = file.extension().is_some_and(|extension| extension == "rs");
    let mut code = false;
    let mut long = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if !rust && line.starts_with("```") {
            code = !code;
        }
        let start = line.trim_start();
        let prose = if rust {
            start.starts_with("//")
        } else {
            !code && !start.starts_with('|') && !line.contains("://")
        };
        if prose && line.chars().count() > COLUMNS {
            long.push(index + 1);
        }
    }
    long
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{layering::files, paths};

    #[test]
    fn prose_fits_into_the_columns() {
        let mut long = Vec::new();
        for file in files::with_extensions(&paths::workspace(), &["rs", "md"]) {
            let text = fs::read_to_string(&file).expect("a source file is readable");
            for line in long_lines(&file, &text) {
                long.push(format!("{}:{line}", file.display()));
            }
        }
        assert!(
            long.is_empty(),
            "{} lines:\n{}",
            long.len(),
            long.join("\n")
        );
    }

    #[test]
    fn tables_and_addresses_may_be_long() {
        let word = "word ".repeat(30);
        let (rust, text) = (Path::new("a.rs"), Path::new("a.md"));
        assert_eq!(
            long_lines(rust, &format!("// {word}\nlet x = 1; {word}")),
            [1]
        );
        assert_eq!(
            long_lines(
                text,
                &format!("{word}\n| {word}\n```\n{word}\n```\nhttp://{word}")
            ),
            [1]
        );
    }
}
