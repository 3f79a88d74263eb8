//! Commands that run in the background of other parts of a test run, with their output in a file
//! until it is shown.
//!
//! They are in the same process group, so that Ctrl-C ends all of them.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{paths, steps::command_line};

/// Time between two reads of a file that still grows.
const PAUSE: Duration = Duration::from_millis(100);

/// A running command with its output in a file.
pub(super) struct Background {
    words: String,
    output: PathBuf,
    child: Child,
}

impl Background {
    /// Starts `command`; its output goes to the file `name` in the build directory.
    pub(super) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let (words, output) = (command_line(command), paths::target()?.join(name));
        let file = File::create(&output)
            .with_context(|| format!("failed to create {}", output.display()))?;
        let errors = file.try_clone().context("failed to share a file")?;
        println!("in the background: {words} (output: {})", output.display());
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

    /// Prints the output line by line until the command ends; fails if the command failed.
    pub(super) fn finish(mut self, mut each: impl FnMut(&str)) -> Result<()> {
        let file = File::open(&self.output)
            .with_context(|| format!("failed to open {}", self.output.display()))?;
        let (mut reader, mut line) = (BufReader::new(file), Vec::new());
        let mut ended = None;
        loop {
            let read = reader.read_until(b'\n', &mut line);
            let read = read.context("failed to read the output")?;
            if line.ends_with(b"\n") || (read == 0 && ended.is_some() && !line.is_empty()) {
                // As bytes, since the output of a test need not be UTF-8.
                let text = String::from_utf8_lossy(&line);
                println!("{}", text.trim_end_matches('\n'));
                each(text.trim_end_matches('\n'));
                line.clear();
            } else if let (0, Some(status)) = (read, ended) {
                return passed(status, &self.words);
            } else if read == 0 {
                // The command may have written more between the read and its end, so the file is
                // read once more.
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
        let name = format!("background-{}-{}.log", std::process::id(), script.len());
        let command = Background::start(&name, Command::new("sh").args(["-c", script])).unwrap();
        let output = command.output.clone();
        let result = command.finish(|line| lines.push(line.to_owned()));
        std::fs::remove_file(output).unwrap();
        (lines, result)
    }

    #[test]
    fn the_whole_output_is_shown_in_order() {
        let (lines, result) = run("echo one; sleep 0.3; printf 'two\\nhalf'; exit 0");
        assert_eq!(lines, ["one", "two", "half"]);
        result.unwrap();
    }

    #[test]
    fn a_failing_command_is_an_error() {
        let (lines, result) = run("echo why >&2; exit 3");
        assert_eq!(lines, ["why"]);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
    }
}
