//! Steps of a command: printing progress, and running tools with their output in a log.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Number of output lines in the error of a failed tool.
const TAIL_LINES: usize = 25;

/// Interval of the progress lines of a running tool if the output is not a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Result of a successful step.
pub(crate) enum Outcome {
    /// Nothing to do; the text describes what is present.
    Present(String),
    /// The step changed the machine; the text describes the change.
    Done(String),
}

/// Runs one step and prints its name, result and duration.
pub(crate) fn step(name: &str, body: impl FnOnce() -> Result<Outcome>) -> Result<()> {
    let start = Instant::now();
    let outcome = body().with_context(|| format!("step `{name}`"))?;
    let (verdict, text) = match outcome {
        Outcome::Present(text) => ("present", text),
        Outcome::Done(text) => ("done", text),
    };
    let seconds = start.elapsed().as_secs_f64();
    println!("  {name:<11} {verdict}: {text} ({seconds:.1} s)");
    Ok(())
}

/// Prints the start of a long action.
pub(crate) fn announce(text: &str) {
    println!("  … {text}");
}

/// Returns a command line for messages, without the environment.
pub(crate) fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    [program.file_name().unwrap_or(program.as_os_str())]
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Log file for the output of all tools.
pub(crate) struct Log {
    path: PathBuf,
}

impl Log {
    /// Creates an empty log, replacing an earlier one.
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Self { path })
    }

    /// Runs a tool and appends its output to the log.
    ///
    /// The error of a failed tool contains the last lines of its output and `remedy`. `action`
    /// completes "failed to".
    pub(crate) fn run(&self, action: &str, command: &mut Command, remedy: &str) -> Result<()> {
        let mut log = OpenOptions::new()
            .append(true)
            .open(&self.path)
            .with_context(|| format!("failed to open {}", self.path.display()))?;
        writeln!(log, "$ {command:?}").context("failed to write the log")?;
        let start = log.metadata().map_or(0, |file| file.len());
        let streams = (log.try_clone(), log.try_clone());
        command
            .stdin(Stdio::null())
            .stdout(streams.0.context("failed to share the log")?)
            .stderr(streams.1.context("failed to share the log")?);
        let mut child = command.spawn().with_context(|| {
            format!(
                "failed to start {:?}\nremedy: {remedy}",
                command.get_program()
            )
        })?;
        let mut progress = Progress::new(action);
        let status = loop {
            if let Some(status) = child.try_wait().context("failed to wait for a tool")? {
                break status;
            }
            progress.update();
            thread::sleep(Duration::from_millis(50));
        };
        progress.clear();
        if status.success() {
            return Ok(());
        }
        let tail = self.tail(start);
        bail!(
            "failed to {action} ({status}); last lines of the output:\n{tail}\n\
             (complete output: {})\nremedy: {remedy}",
            self.path.display()
        );
    }

    /// Returns the last lines of the log after the offset `start`.
    fn tail(&self, start: u64) -> String {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        let start = usize::try_from(start).unwrap_or(0).min(bytes.len());
        let text = String::from_utf8_lossy(&bytes[start..]);
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        last.iter().map(|line| format!("    {line}\n")).collect()
    }
}

/// Periodic output while a tool runs.
struct Progress<'a> {
    action: &'a str,
    start: Instant,
    /// Elapsed time of the next output.
    next: Duration,
    interval: Duration,
    is_terminal: bool,
    /// Whether the terminal's last line is a progress line.
    is_visible: bool,
}

impl<'a> Progress<'a> {
    fn new(action: &'a str) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let interval = if is_terminal {
            Duration::from_secs(1)
        } else {
            PROGRESS_INTERVAL
        };
        Self {
            action,
            start: Instant::now(),
            next: interval,
            interval,
            is_terminal,
            is_visible: false,
        }
    }

    fn update(&mut self) {
        let elapsed = self.start.elapsed();
        if elapsed < self.next {
            return;
        }
        self.next += self.interval;
        let seconds = elapsed.as_secs();
        if self.is_terminal {
            print!("\r  … {}: {seconds} s", self.action);
            self.is_visible = true;
        } else {
            println!("  … {}: {seconds} s", self.action);
        }
        // A failure to print progress is not a failure of the step.
        let _ = io::stdout().flush();
    }

    fn clear(&self) {
        if self.is_visible {
            print!("\r\x1b[K");
        }
    }
}
