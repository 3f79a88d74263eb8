//! The loops that read keys and draw.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crossterm::event::{self, Event, KeyEventKind};
use ratatui::DefaultTerminal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    detail, services,
    state::{Request, State},
    text, view,
};
use crate::observed::Shared;

/// Rows of a table that is appended to the output.
const LINE_ROWS: usize = 20;
/// Interval at which the thread that reads keys checks for the end.
const KEY_TIMEOUT: Duration = Duration::from_millis(100);
/// Terminal events that wait to be handled.
const MAX_EVENTS: usize = 64;

/// Shows the table until `shutdown`, or until the viewer quits.
///
/// # Errors
///
/// Error of the system if stdout cannot be written.
pub async fn show(
    shared: &Shared,
    interval: Duration,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return append_tables(shared, interval, shutdown).await;
    }
    // Restores the terminal even if the process panics.
    let mut terminal = ratatui::try_init()?;
    let ended = Arc::new(AtomicBool::new(false));
    let (sender, events) = mpsc::channel(MAX_EVENTS);
    let reader = thread::Builder::new().name("keys".to_owned());
    let reader = {
        let ended = Arc::clone(&ended);
        reader.spawn(move || read_events(&sender, &ended))
    };
    let result = match reader {
        Ok(reader) => {
            let result = interact(&mut terminal, shared, interval, shutdown, events).await;
            ended.store(true, Ordering::Relaxed);
            // The thread only forwards events and cannot panic.
            let _ = reader.join();
            result
        }
        Err(error) => Err(error),
    };
    ratatui::try_restore()?;
    // The last table remains on the screen.
    write!(io::stdout(), "{}", text::table(&shared.lock(), LINE_ROWS))?;
    result
}

/// Forwards terminal events until `ended`, or until the terminal is closed.
fn read_events(sender: &mpsc::Sender<Event>, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        let event = match event::poll(KEY_TIMEOUT) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        if !event.is_ok_and(|event| sender.blocking_send(event).is_ok()) {
            return;
        }
    }
}

async fn interact(
    terminal: &mut DefaultTerminal,
    shared: &Shared,
    interval: Duration,
    shutdown: &CancellationToken,
    mut events: mpsc::Receiver<Event>,
) -> io::Result<()> {
    let mut state = State::default();
    let mut ticks = tokio::time::interval(interval);
    let mut rows = Vec::new();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => None,
            Some(event) = events.recv() => Some(event),
        };
        if let Some(Event::Key(key)) = event
            && key.kind != KeyEventKind::Release
            && state.press(key, &rows) == Request::Quit
        {
            return Ok(());
        }
        let (header, services, recent) = {
            let observed = shared.lock();
            rows = state.rows(&observed);
            let services = match state.services {
                true => services::lines(&observed, &state.filter),
                false => Vec::new(),
            };
            let recent = detail::recent(&observed, state.detail.as_ref());
            (view::header(&observed), services, recent)
        };
        state.selected = state.selected.min(rows.len().saturating_sub(1));
        terminal.draw(|frame| {
            view::draw(frame, &mut state, &header, &rows, &services, &recent);
        })?;
    }
}

/// Appends one table per interval to stdout.
async fn append_tables(
    shared: &Shared,
    interval: Duration,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let mut ticks = tokio::time::interval(interval);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let table = text::table(&shared.lock(), LINE_ROWS);
        let mut out = io::stdout().lock();
        out.write_all(table.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
}
