//! `reprise replay`: a recorded stream through the pipeline that runs in production.

use std::io::{self, BufWriter, Read, Write};

use super::{cli::Replay, config, failure::Failure, output};
use crate::{
    observed::{Observed, Shared},
    record::{Frame, RecordError, Recording},
    status::Status,
    views::{
        explanation,
        metrics::{Format, Page},
        watch,
    },
};
use reprise_core::pipeline::{
    Pipeline,
    clock::Clock,
    stats::{MissExample, PeerKey},
};

/// Replays a recording and prints the table or the metrics page, with `--explain` after a line for
/// each miss.
///
/// # Errors
///
/// [`Failure`].
pub fn replay(args: &Replay) -> Result<(), Failure> {
    let pipeline = config::pipeline(&args.counting)?;
    let mut recording =
        Recording::open(&args.file).map_err(|error| Failure::Usage(crate::chain(&error)))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let observed = observe(&mut recording, pipeline, |line| {
        if args.explain && written.is_ok() {
            written = writeln!(out, "{}", line());
        }
    });
    let observed = observed.map_err(|error| {
        Failure::Runtime(format!("{}: {}", args.file.display(), crate::chain(&error)))
    })?;
    output::finish(
        written
            .and_then(|()| out.write_all(render(observed, args.metrics).as_bytes()))
            .and_then(|()| out.flush()),
    )
}

/// Replays a recording. One that ends inside a record is replayed up to there, with a warning.
/// `missed` receives a function that describes each miss in one line.
pub(super) fn observe<R: Read>(
    recording: &mut Recording<R>,
    mut pipeline: Pipeline,
    mut missed: impl FnMut(&dyn Fn() -> String),
) -> Result<Observed, RecordError> {
    let mut status = Status::default();
    let mut missed = |clock: &Clock, peer: &PeerKey, miss: &MissExample| {
        missed(&|| explanation::line(clock, peer, miss));
    };
    loop {
        match recording.next_frame() {
            Ok(Some(Frame::Event(event))) => pipeline.push_with(&event, &mut missed),
            Ok(Some(Frame::Status(newer))) => status = *newer,
            Ok(None) => break,
            Err(error @ RecordError::Truncated { .. }) => {
                tracing::warn!(reason = %error, "recording ends inside a record, replayed up to there");
                break;
            }
            Err(error) => return Err(error),
        }
    }
    pipeline.finish_with(&mut missed);
    Ok(Observed { pipeline, status })
}

fn render(observed: Observed, metrics: bool) -> String {
    if metrics {
        Page::new(Shared::new(observed), false)
            .render(Format::Prometheus)
            .unwrap_or_default()
    } else {
        watch::table(&observed, usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use reprise_core::pipeline::{
        clock::{CLOCK, ClockEvent},
        peers::Naming,
        socket::words,
        wire::{TokenRecord, WIRE, WireRecord, end, flag},
    };
    use reprise_ebpf::{Header, Socket, handshake::role};
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;
    use crate::{record::Recorder, testing::small_pipeline};

    const SECOND: u64 = 1_000_000_000;

    /// A full handshake of a server that only the packets show.
    fn full(time_ns: u64, offered: u64, issued: u64) -> WireRecord {
        let id = |hash| TokenRecord {
            hash,
            key: 0,
            length: if hash == 0 { 0 } else { 32 },
        };
        let mut record = WireRecord::new_zeroed();
        record.header = Header {
            kind: WIRE,
            size: size_of::<WireRecord>() as u32,
            time_ns,
        };
        record.socket = Socket {
            local: words(Ipv4Addr::new(198, 51, 100, 1).into()),
            remote: words(Ipv4Addr::new(192, 0, 2, 7).into()),
            local_port: 443,
            remote_port: 50_000,
            ..Socket::default()
        };
        record.begin_ns = time_ns;
        record.answer_ns = time_ns;
        record.client_random[..8].copy_from_slice(&time_ns.to_ne_bytes());
        record.session_id = id(offered);
        record.given_id = id(issued);
        record.version = 0x0303;
        record.offered_version = 0x0303;
        record.flags = flag::OFFER_READ | flag::ANSWER_READ | flag::FULL;
        record.end = end::COMPLETED;
        record.role = role::SERVER;
        record
    }

    fn recording() -> Vec<u8> {
        let mut recorder = Recorder::new(Vec::new()).unwrap();
        let mut clock = ClockEvent::new_zeroed();
        clock.header.kind = CLOCK;
        clock.offset_ns = 1_796_040_000_000_000_000;
        recorder.event(clock.as_bytes()).unwrap();
        for record in [full(SECOND, 0, 7), full(3 * SECOND, 7, 8)] {
            recorder.event(record.as_bytes()).unwrap();
        }
        recorder.into_inner()
    }

    #[test]
    fn each_miss_is_explained_in_one_line() {
        let pipeline = small_pipeline(Naming::default());
        let bytes = recording();
        let mut recording = Recording::new(bytes.as_slice()).unwrap();
        let mut lines = Vec::new();
        let observed = observe(&mut recording, pipeline, |line| lines.push(line())).unwrap();
        assert_eq!(
            lines,
            [
                "2026-11-30T12:00:03.000Z 192.0.2.7 server session_id unknown \
                 rule not_enough_evidence, 0 sessions issued since, age 2.000 s"
            ]
        );
        assert!(render(observed, false).contains("192.0.2.7"));
    }
}
