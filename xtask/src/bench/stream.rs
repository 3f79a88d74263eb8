//! Bytes per second through one TCP connection on loopback, with the agent ÷ without: what its look at each packet costs a transfer that
//! is no TLS, or is past its first flights; both leave by the same exit.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::{Bench, environment, go_on, observer::Observer};

/// Bytes written at once.
const BLOCK: usize = 64 << 10;
/// Pairs of measurements in one round: a transfer varies more than a handshake does.
const PAIRS: u32 = 2;

/// A value per pair.
#[derive(Default)]
pub(super) struct Streams {
    /// Bytes per second without the agent.
    pub(super) alone: Vec<f64>,
    /// With ÷ without.
    pub(super) ratio: Vec<f64>,
}

/// Measures pairs, one with the agent and one without, who is first changing from pair to pair.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Streams> {
    let time = Duration::from_secs(bench.seconds);
    let with = || -> Result<f64> {
        let observer = Observer::start(bench)?;
        let rate = transfer(time)?;
        observer.end()?;
        Ok(rate)
    };
    let mut streams = Streams::default();
    for pair in 0..bench.rounds * PAIRS {
        go_on()?;
        let (with, alone) = if pair.is_multiple_of(2) {
            let with = with()?;
            (with, transfer(time)?)
        } else {
            let alone = transfer(time)?;
            (with()?, alone)
        };
        println!("  pair {}: {:.3}", pair + 1, with / alone);
        streams.alone.push(alone);
        streams.ratio.push(with / alone);
    }
    Ok(streams)
}

/// Bytes per second of one transfer. Both ends share the last CPU, so that the rate is that of the work done.
fn transfer(time: Duration) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to listen")?;
    let address = listener.local_addr().context("failed to ask for a port")?;
    let sender = thread::spawn(move || -> Result<()> {
        pin()?;
        let mut stream = TcpStream::connect(address).context("failed to connect")?;
        let block = vec![0; BLOCK];
        let began = Instant::now();
        while began.elapsed() < time {
            stream.write_all(&block).context("failed to send")?;
        }
        Ok(())
    });
    let receiver = thread::spawn(move || -> Result<f64> {
        pin()?;
        let (mut stream, _) = listener.accept().context("failed to accept")?;
        let mut block = vec![0; BLOCK];
        let began = Instant::now();
        let mut bytes = 0.0;
        loop {
            match stream.read(&mut block).context("failed to receive")? {
                0 => return Ok(bytes / began.elapsed().as_secs_f64()),
                some => bytes += some as f64,
            }
        }
    });
    let ended = sender.join().map_err(|_| anyhow!("the sender panicked"))?;
    let rate = receiver
        .join()
        .map_err(|_| anyhow!("the receiver panicked"))?;
    ended.and(rate)
}

/// Keeps this thread on the last CPU.
fn pin() -> Result<()> {
    let mut last = CpuSet::new();
    last.set(environment::cpus() - 1)
        .context("failed to name a CPU")?;
    sched_setaffinity(Pid::from_raw(0), &last).context("failed to choose a CPU")
}
