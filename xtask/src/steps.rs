//! Prints what is being done, runs tools, keeps their output, and shows that long steps live.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Lines of a failed tool's output that the error repeats.
const TAIL: usize = 25;

/// How often a running step is heard of where lines are kept (a terminal rewrites one line).
const TICK: Duration = Duration::from_secs(10);

/// How one step went.
pub(crate) enum Outcome {
    /// Nothing was to be done; the text says what was found.
    Present(String),
    /// It was done; the text says what.
    Done(String),
}

/// Runs one step and prints its name, what came of it, and the seconds taken.
pub(crate) fn step(name: &str, body: impl FnOnce() -> Result<Outcome>) -> Result<()> {
    let began = Instant::now();
    let outcome = body().with_context(|| format!("step `{name}`"))?;
    let (verdict, text) = match outcome {
        Outcome::Present(text) => ("already there", text),
        Outcome::Done(text) => ("done", text),
    };
    let seconds = began.elapsed().as_secs_f64();
    println!("  {name:<11} {verdict}: {text} ({seconds:.1} s)");
    Ok(())
}

/// Announces a long action.
pub(crate) fn announce(text: &str) {
    println!("  … {text}");
}

/// A command as one would type it, without the environment that it is given.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    [program.file_name().unwrap_or(program.as_os_str())]
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The file that gets the output of all tools.
pub(crate) struct Log {
    path: PathBuf,
}

impl Log {
    /// Begins a new log.
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Self { path })
    }

    /// Runs a tool to its end, its output in the log.
    ///
    /// The error of a tool that fails shows the end of its output and the remedy.
    pub(crate) fn run(&self, what: &str, command: &mut Command, remedy: &str) -> Result<()> {
        let mut log = OpenOptions::new()
            .append(true)
            .open(&self.path)
            .with_context(|| format!("failed to open {}", self.path.display()))?;
        let mut begin = log.metadata().map_or(0, |file| file.len());
        writeln!(log, "$ {command:?}").context("failed to write the log")?;
        begin = log.metadata().map_or(begin, |file| file.len());
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
        let mut ticker = Ticker::new(what);
        let status = loop {
            if let Some(status) = child.try_wait().context("failed to wait for a tool")? {
                break status;
            }
            ticker.tick();
            thread::sleep(Duration::from_millis(50));
        };
        ticker.clear();
        if status.success() {
            return Ok(());
        }
        let tail = self.tail(begin);
        bail!(
            "failed to {what} ({status}); the end of its output:\n{tail}\n\
             (all of it: {})\nremedy: {remedy}",
            self.path.display()
        );
    }

    fn tail(&self, begin: u64) -> String {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        let begin = usize::try_from(begin).unwrap_or(0).min(bytes.len());
        let text = String::from_utf8_lossy(&bytes[begin..]);
        let lines: Vec<_> = text.lines().collect();
        let kept = &lines[lines.len().saturating_sub(TAIL)..];
        kept.iter().map(|line| format!("    {line}\n")).collect()
    }
}

/// Shows that a step still runs.
struct Ticker<'a> {
    what: &'a str,
    began: Instant,
    due: Duration,
    every: Duration,
    terminal: bool,
    shown: bool,
}

impl<'a> Ticker<'a> {
    fn new(what: &'a str) -> Self {
        let terminal = io::stdout().is_terminal();
        let every = if terminal {
            Duration::from_secs(1)
        } else {
            TICK
        };
        Self {
            what,
            began: Instant::now(),
            due: every,
            every,
            terminal,
            shown: false,
        }
    }

    fn tick(&mut self) {
        let elapsed = self.began.elapsed();
        if elapsed < self.due {
            return;
        }
        self.due += self.every;
        let seconds = elapsed.as_secs();
        if self.terminal {
            print!("\r  … {}: {seconds} s", self.what);
            self.shown = true;
        } else {
            println!("  … {}: {seconds} s", self.what);
        }
        // A ticker that cannot be shown is no reason to fail.
        let _ = io::stdout().flush();
    }

    fn clear(&self) {
        if self.shown {
            print!("\r\x1b[K");
        }
    }
}
