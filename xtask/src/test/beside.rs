//! Work beside the parts of a test run: a command whose output waits in a file until its turn to be shown has come.
//!
//! It shares the process group, so that Ctrl-C ends both.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{paths, steps::shown};

/// How often a file that still grows is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// A command at work, its output in a file.
pub(super) struct Beside {
    words: String,
    output: PathBuf,
    child: Child,
}

impl Beside {
    /// Starts it; `name` is that of the file in the build directory.
    pub(super) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let (words, output) = (shown(command), paths::target()?.join(name));
        let file = File::create(&output)
            .with_context(|| format!("failed to create {}", output.display()))?;
        let errors = file.try_clone().context("failed to share a file")?;
        println!("beside this: {words} (output: {})", output.display());
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("failed to start {words}"))?;
        Ok(Self {
            words,
            output,
            child,
        })
    }

    /// Shows what it wrote, line by line, until it ends; it fails where that failed.
    pub(super) fn finish(mut self, mut each: impl FnMut(&str)) -> Result<()> {
        let file = File::open(&self.output)
            .with_context(|| format!("failed to open {}", self.output.display()))?;
        let (mut reader, mut line) = (BufReader::new(file), Vec::new());
        let mut ended = None;
        loop {
            let read = reader.read_until(b'\n', &mut line);
            let read = read.context("failed to read the output")?;
            if line.ends_with(b"\n") || (read == 0 && ended.is_some() && !line.is_empty()) {
                // By bytes: what a test prints need not be UTF-8.
                let text = String::from_utf8_lossy(&line);
                println!("{}", text.trim_end_matches('\n'));
                each(text.trim_end_matches('\n'));
                line.clear();
            } else if let (0, Some(status)) = (read, ended) {
                return passed(status, &self.words);
            } else if read == 0 {
                // What it wrote before it ended is read after that.
                ended = self.child.try_wait().context("failed to wait")?;
                if ended.is_none() {
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

fn passed(status: std::process::ExitStatus, words: &str) -> Result<()> {
    ensure!(status.success(), "failed: {words} ({status})");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> (Vec<String>, Result<()>) {
        let mut lines = Vec::new();
        let name = format!("beside-{}-{}.log", std::process::id(), script.len());
        let beside = Beside::start(&name, Command::new("sh").args(["-c", script])).unwrap();
        let output = beside.output.clone();
        let result = beside.finish(|line| lines.push(line.to_owned()));
        std::fs::remove_file(output).unwrap();
        (lines, result)
    }

    #[test]
    fn all_that_was_written_is_shown_in_order() {
        let (lines, result) = run("echo one; sleep 0.3; printf 'two\\nhalf'; exit 0");
        assert_eq!(lines, ["one", "two", "half"]);
        result.unwrap();
    }

    #[test]
    fn what_fails_is_told() {
        let (lines, result) = run("echo why >&2; exit 3");
        assert_eq!(lines, ["why"]);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
    }
}
