//! The live table: one picture per interval, drawn over the last one on a terminal, appended as lines elsewhere.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    execute, queue,
    terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, size},
};
use tokio_util::sync::CancellationToken;

use crate::{
    correlate::{Cause, Resumption, Role},
    observed::{Observed, Shared},
    stats::{PeerKey, PeerStats},
};

/// Rows of a picture that is appended rather than drawn over.
const LINE_ROWS: usize = 20;
/// Lines of a picture that are not peers.
const FRAME: usize = 6;

/// Shows pictures until `shutdown`.
///
/// # Errors
///
/// Where stdout cannot be written.
pub async fn show(
    shared: &Shared,
    interval: Duration,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let terminal = io::stdout().is_terminal();
    let mut out = io::stdout();
    if terminal {
        execute!(out, EnterAlternateScreen, Hide)?;
    }
    let result = pictures(shared, interval, shutdown, terminal).await;
    if terminal {
        execute!(out, Show, LeaveAlternateScreen)?;
        // The last picture stays behind.
        write!(out, "{}", table(&shared.lock(), LINE_ROWS))?;
    }
    result
}

async fn pictures(
    shared: &Shared,
    interval: Duration,
    shutdown: &CancellationToken,
    terminal: bool,
) -> io::Result<()> {
    let mut ticks = tokio::time::interval(interval);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let mut out = io::stdout().lock();
        if terminal {
            let rows = size().map_or(LINE_ROWS, |(_, rows)| {
                usize::from(rows).saturating_sub(FRAME + 1)
            });
            let picture = table(&shared.lock(), rows);
            queue!(out, MoveTo(0, 0), Clear(ClearType::All))?;
            out.write_all(picture.replace('\n', "\r\n").as_bytes())?;
        } else {
            let picture = table(&shared.lock(), LINE_ROWS);
            out.write_all(picture.as_bytes())?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
    }
}

/// The picture: totals, then at most `rows` peers, the busiest first. 80 columns.
#[must_use]
pub fn table(observed: &Observed, rows: usize) -> String {
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
        "reprise: {libraries} libraries observed, {} open handshakes, {lost} events lost",
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
            percent(resumed, full + resumed),
        );
    }
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
        let ratio = stats
            .peers
            .ratio(sums, pipeline.now_ns())
            .map_or_else(|| "-".to_owned(), |ratio| format!("{:.0}%", ratio * 100.0));
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

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        "-".to_owned()
    } else {
        format!("{:.0}%", part as f64 * 100.0 / whole as f64)
    }
}
