//! A pseudo-terminal with a program and the contents of its screen.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host_lock;
use crate::poll::{DEADLINE, poll_until};

/// Colours of the terminal's first palette entries: black, red, green, yellow, blue.
const COLOURS: [&str; 5] = ["#000000", "#ff6b68", "#5fd38d", "#e6b84c", "#7aa8ff"];

/// A program in its own terminal; killed when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<vt100::Parser>>,
    /// Everything that was written, with escape sequences.
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a program in a terminal of this size.
    ///
    /// # Panics
    /// If the terminal or the program cannot be started.
    #[must_use]
    pub fn start(program: &mut Command, columns: u16, rows: u16) -> Self {
        host_lock::acquire();
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).expect("failed to open a terminal");
        let stdio = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("failed to share a terminal"));
        // The child does not inherit the test's descriptors, so closing the keyboard ends it.
        let child = program
            .stdin(stdio(&pty.slave))
            .stdout(stdio(&pty.slave))
            .stderr(stdio(&pty.slave))
            .env("TERM", "xterm-256color")
            .spawn()
            .expect("failed to start a program in a terminal");
        drop(pty.slave);
        let cells = |count| NonZero::new(count).expect("no size");
        let screen = vt100::Parser::new(cells(rows), cells(columns), 0);
        let screen = Arc::new(Mutex::new(screen));
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut output = File::from(pty.master.try_clone().expect("failed to share a terminal"));
        let (shown, kept) = (Arc::clone(&screen), Arc::clone(&written));
        // Ends when the program has closed the terminal.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .process(&bytes[..count]);
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(&bytes[..count]);
            }
        });
        Self {
            child,
            keyboard: File::from(pty.master),
            screen,
            written,
        }
    }

    /// Sends key presses.
    ///
    /// # Panics
    /// If the program has closed the terminal.
    pub fn press(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("failed to type");
    }

    /// Returns the text on the screen.
    #[must_use]
    pub fn text(&self) -> String {
        self.screen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .screen()
            .contents()
    }

    /// Returns the screen as an HTML page with colours.
    #[must_use]
    pub fn page(&self) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let screen = screen.screen();
        let (rows, columns) = screen.size();
        let mut text = String::new();
        for row in 0..rows.get() {
            for cell in (0..columns.get()).filter_map(|column| screen.cell(row, column)) {
                let colour = match cell.fgcolor() {
                    vt100::Color::Idx(number) => COLOURS.get(usize::from(number)),
                    _ => None,
                };
                let style = [
                    (cell.inverse(), "color:#1b1f2a;background:#d7dbe6;"),
                    (cell.bold(), "font-weight:bold;"),
                    (cell.dim(), "opacity:.6;"),
                    (cell.underline(), "text-decoration:underline;"),
                ];
                let style: String = style.iter().filter(|one| one.0).map(|one| one.1).collect();
                let colour = colour.map_or(String::new(), |colour| format!("color:{colour};"));
                let contents = match cell.contents() {
                    "" => " ",
                    "<" => "&lt;",
                    "&" => "&amp;",
                    other => other,
                };
                text.push_str(&format!("<span style='{colour}{style}'>{contents}</span>"));
            }
            text.push('\n');
        }
        format!(
            "<!doctype html><meta charset=utf-8><body style='margin:0;background:#1b1f2a;color:#d7dbe6'>\
             <pre style='margin:16px;font:14px/18px DejaVu Sans Mono,monospace'>{text}</pre>"
        )
    }

    /// Whether the program uses the alternate screen.
    #[must_use]
    pub fn alternate(&self) -> bool {
        self.screen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .screen()
            .alternate_screen()
    }

    /// Waits until `right` accepts the text on the screen.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn wait(&mut self, what: &str, right: impl Fn(&str) -> bool) {
        poll_until(what, DEADLINE, || {
            let text = self.text();
            if right(&text) { Ok(()) } else { Err(text) }
        });
    }

    /// Waits until the program ends.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let status = poll_until("the program ends", deadline, || {
            match self.child.try_wait().expect("failed to wait for a program") {
                Some(status) => Ok(status),
                None => Err(self.text()),
            }
        });
        // The reader thread may not have read the last output yet.
        thread::sleep(Duration::from_millis(50));
        status
    }

    /// Returns everything that was written so far.
    #[must_use]
    pub fn written(&self) -> String {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGKILL,
        );
        let _ = self.child.wait();
    }
}
