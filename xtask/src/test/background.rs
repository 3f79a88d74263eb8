//! Background commands of a test run, with their output in a file.
//!
//! They are in the process group of this process, so Ctrl-C ends them too.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{paths, steps::command_line};

/// Interval between two reads of the output file.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A running command with its output in a file.
pub(super) struct BackgroundCommand {
    command_line: String,
    /// Path of the output file.
    output: PathBuf,
    child: Child,
}

impl BackgroundCommand {
    /// Starts `command` with its output in the file `name` in the build directory.
    pub(super) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let (command_line, output) = (command_line(command), paths::target()?.join(name));
        let file = File::create(&output)
            .with_context(|| format!("failed to create {}", output.display()))?;
        let errors = file.try_clone().context("failed to share a file")?;
        println!(
            "in the background: {command_line} (output: {})",
            output.display()
        );
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("failed to start {command_line}"))?;
        Ok(Self {
            command_line,
            output,
            child,
        })
    }

    /// Prints the output and calls `on_line` for each line until the command ends.
    ///
    /// Fails if the command failed.
    pub(super) fn finish(mut self, mut on_line: impl FnMut(&str)) -> Result<()> {
        let file = File::open(&self.output)
            .with_context(|| format!("failed to open {}", self.output.display()))?;
        let (mut reader, mut line) = (BufReader::new(file), Vec::new());
        let mut exit_status: Option<ExitStatus> = None;
        loop {
            let read = reader.read_until(b'\n', &mut line);
            let read = read.context("failed to read the output")?;
            if line.ends_with(b"\n") || (read == 0 && exit_status.is_some() && !line.is_empty()) {
                // The output of a test may be invalid UTF-8.
                let text = String::from_utf8_lossy(&line);
                println!("{}", text.trim_end_matches('\n'));
                on_line(text.trim_end_matches('\n'));
                line.clear();
            } else if let (0, Some(status)) = (read, exit_status) {
                ensure!(status.success(), "failed: {} ({status})", self.command_line);
                return Ok(());
            } else if read == 0 {
                // The next iteration reads the output written before the end.
                exit_status = self
                    .child
                    .try_wait()
                    .context("failed to wait for a background command")?;
                if exit_status.is_none() {
                    thread::sleep(POLL_INTERVAL);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> (Vec<String>, Result<()>) {
        let mut lines = Vec::new();
        let name = format!("background-{}-{}.log", std::process::id(), script.len());
        let command =
            BackgroundCommand::start(&name, Command::new("sh").args(["-c", script])).unwrap();
        let output = command.output.clone();
        let result = command.finish(|line| lines.push(line.to_owned()));
        std::fs::remove_file(output).unwrap();
        (lines, result)
    }

    #[test]
    fn the_output_is_complete_and_in_order() {
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
