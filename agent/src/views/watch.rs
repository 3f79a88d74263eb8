//! The live table: on a terminal one that is sorted, filtered and looked into by keys; elsewhere a picture per interval, as lines.

mod state;
mod view;

#[cfg(test)]
mod tests;

use std::{
    fmt::Write as _,
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

use self::state::{State, Wish};
use crate::observed::{Observed, Shared};
use reprise_core::model::{FailureCause as Cause, Resumption, Role};
use reprise_core::pipeline::stats::{PeerKey, PeerStats};

/// Rows of a picture that is appended rather than drawn over.
const LINE_ROWS: usize = 20;
/// How soon the thread that waits for keys notices that all is over.
const WAIT: Duration = Duration::from_millis(100);
/// Keys and changes of size that may wait; a viewer types slower.
const EVENTS: usize = 64;

/// Shows pictures until `shutdown`, or until the viewer has seen enough.
///
/// # Errors
///
/// Where stdout cannot be written.
pub async fn show(
    shared: &Shared,
    interval: Duration,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return lines(shared, interval, shutdown).await;
    }
    // Puts the terminal back in order when it panics, too.
    let mut terminal = ratatui::try_init()?;
    let over = Arc::new(AtomicBool::new(false));
    let (told, events) = mpsc::channel(EVENTS);
    let reader = thread::Builder::new().name("keys".to_owned());
    let reader = {
        let over = Arc::clone(&over);
        reader.spawn(move || read(&told, &over))
    };
    let result = match reader {
        Ok(reader) => {
            let result = interact(&mut terminal, shared, interval, shutdown, events).await;
            over.store(true, Ordering::Relaxed);
            // It cannot have panicked: it only passes on what it reads.
            let _ = reader.join();
            result
        }
        Err(error) => Err(error),
    };
    ratatui::try_restore()?;
    // The last picture stays behind.
    write!(io::stdout(), "{}", table(&shared.lock(), LINE_ROWS))?;
    result
}

/// Passes on what the terminal tells; ends where nobody can type.
fn read(told: &mpsc::Sender<Event>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let event = match event::poll(WAIT) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        if !event.is_ok_and(|event| told.blocking_send(event).is_ok()) {
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
            && state.press(key, &rows) == Wish::End
        {
            return Ok(());
        }
        let (head, lately) = {
            let observed = shared.lock();
            rows = state.rows(&observed);
            (view::head(&observed), view::lately(&observed, &state))
        };
        state.selected = state.selected.min(rows.len().saturating_sub(1));
        terminal.draw(|frame| view::draw(frame, &mut state, &head, &rows, &lately))?;
    }
}

async fn lines(
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
        let picture = table(&shared.lock(), LINE_ROWS);
        let mut out = io::stdout().lock();
        out.write_all(picture.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
}

/// The lines over the table. 80 columns.
fn totals(observed: &Observed) -> String {
    let Observed { pipeline, status } = observed;
    let stats = &pipeline.stats;
    let mut text = String::new();
    let libraries = status
        .libraries
        .iter()
        .filter(|library| library.observed)
        .count();
    let lost: u64 = status.sensors.iter().map(|health| health.lost).sum();
    let _ = writeln!(
        text,
        "reprise: libraries observed {libraries}, open handshakes {}, events lost {lost}",
        status.open_handshakes
    );
    for role in Role::ALL {
        let sum = |resumption: Resumption| -> u64 {
            stats.handshakes[role as usize]
                .iter()
                .map(|version| version[resumption as usize])
                .sum()
        };
        let (full, resumed) = (sum(Resumption::Full), sum(Resumption::Resumed));
        let unknown = match sum(Resumption::Unknown) {
            0 => String::new(),
            unknown => format!("  unknown {unknown}"),
        };
        let failed: u64 = stats.failures[role as usize].iter().sum();
        let with_loss: u64 = stats.with_loss[role as usize].iter().sum();
        let _ = writeln!(
            text,
            "{:<7} full {full:<8} resumed {resumed:<8} {:>4}  failed {failed:<7} with loss {with_loss}{unknown}",
            role.label(),
            percent(share(resumed, full + resumed)),
        );
    }
    text
}

/// The picture: totals, then at most `rows` peers, the busiest first. 80 columns.
#[must_use]
pub fn table(observed: &Observed, rows: usize) -> String {
    let pipeline = &observed.pipeline;
    let stats = &pipeline.stats;
    let mut text = totals(observed);
    let _ = writeln!(
        text,
        "\n{:<34} {:<6} {:>8} {:>8} {:>6} {:>6} CAUSE",
        "PEER", "ROLE", "FULL", "RESUMED", "RECENT", "FAILED"
    );
    let mut peers: Vec<(&PeerKey, &PeerStats)> = stats.peers.iter().collect();
    peers.sort_by_cached_key(|(key, sums)| {
        let activity = sums.completed.iter().sum::<u64>() + sums.failures.iter().sum::<u64>();
        (std::cmp::Reverse(activity), key.peer.to_string())
    });
    let more = peers.len().saturating_sub(rows);
    for (key, sums) in peers.into_iter().take(rows) {
        let ratio = percent(stats.peers.ratio(sums, pipeline.now_ns()));
        let failed: u64 = sums.failures.iter().sum();
        let cause = Cause::ALL
            .into_iter()
            .max_by_key(|cause| sums.failures[*cause as usize])
            .filter(|_| failed > 0)
            .map_or("", Cause::label);
        let _ = writeln!(
            text,
            "{:<34} {:<6} {:>8} {:>8} {ratio:>6} {failed:>6} {cause}",
            key.peer.to_string(),
            key.role.label(),
            sums.completed[Resumption::Full as usize],
            sums.completed[Resumption::Resumed as usize],
        );
    }
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
    text
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0}%", ratio * 100.0))
}
