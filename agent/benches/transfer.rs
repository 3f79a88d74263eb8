//! Cost of the programs for a long transfer: throughput of one TCP connection on loopback with the
//! programs attached, divided by the throughput without them. The connection carries no TLS; a TLS
//! connection takes the same exit paths after its first flights. Run by `cargo xtask bench`, or as
//! root by `cargo bench -p reprise --bench transfer -- SECONDS`.
//!
//! The programs are attached and detached during one connection, in slices of milliseconds, because
//! the throughput of a machine varies from one second to the next by more than the cost. Each pair
//! of neighbouring slices, one with and one without programs in alternating order, gives one ratio.
//! The output has lines of `name value`: `rate` in bytes per second without programs; `wire`, the
//! ratio with the two packet programs; `all`, the ratio with the receive and send programs as well.
//! The values are medians; `_low` and `_high` are the bounds of their 95 % confidence intervals.

use std::{
    env,
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, RawTracePoint,
        cgroup_skb::CgroupSkbLinkId, raw_trace_point::RawTracePointLinkId,
    },
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use reprise::host::cgroup;

/// Size of one write, bytes.
const BLOCK: usize = 64 << 10;
/// Duration of one measurement.
const SLICE: Duration = Duration::from_millis(20);
/// Delay before a measurement, so that attaching or detaching takes effect.
const SETTLE: Duration = Duration::from_millis(3);
/// Duration before the first measurement, until the throughput is stable.
const WARM_UP: Duration = Duration::from_millis(500);
/// Two-sided 95 % quantile of the normal distribution.
const QUANTILE: f64 = 1.96;

const PACKETS: [(&str, CgroupSkbAttachType); 2] = [
    ("wire_in", CgroupSkbAttachType::Ingress),
    ("wire_out", CgroupSkbAttachType::Egress),
];
const CALLS: [(&str, &str); 2] = [
    ("hs_recv_call", "sock_recv_length"),
    ("hs_send_call", "sock_send_length"),
];

fn main() -> Result<()> {
    let seconds = env::args().find_map(|argument| argument.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(10));
    let mut programs = Programs::load()?;
    let (mut baseline, mut wire, mut all) = (Vec::new(), Vec::new(), Vec::new());
    during_transfer(|rate| {
        let began = Instant::now();
        let mut with_first = false;
        while began.elapsed() < time {
            with_first = !with_first;
            for (calls, ratios) in [(false, &mut wire), (true, &mut all)] {
                let mut with = || -> Result<f64> {
                    programs.attach(calls)?;
                    let with = rate();
                    programs.detach()?;
                    Ok(with)
                };
                let (with, without) = if with_first {
                    (with()?, rate())
                } else {
                    let without = rate();
                    (with()?, without)
                };
                baseline.push(without);
                ratios.push(with / without);
            }
        }
        Ok(())
    })?;
    println!("rate {:.0}", median(&mut baseline).0);
    for (name, mut ratios) in [("wire", wire), ("all", all)] {
        let (middle, low, high) = median(&mut ratios);
        println!("{name} {middle:.4}\n{name}_low {low:.4}\n{name}_high {high:.4}");
    }
    Ok(())
}

/// Runs `measure` during a transfer with a function that measures one slice, in bytes per second.
/// Both ends share the last CPU, so that the throughput depends on the total work.
fn during_transfer(measure: impl FnOnce(&dyn Fn() -> f64) -> Result<()>) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to listen")?;
    let address = listener.local_addr().context("failed to ask for a port")?;
    let (finished, received) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let sender = scope.spawn(|| -> Result<()> {
            pin()?;
            let mut stream = TcpStream::connect(address).context("failed to connect")?;
            let block = vec![0; BLOCK];
            while !finished.load(Relaxed) {
                stream.write_all(&block).context("failed to send")?;
            }
            Ok(())
        });
        let receiver = scope.spawn(|| -> Result<()> {
            pin()?;
            let (mut stream, _) = listener.accept().context("failed to accept")?;
            let mut block = vec![0; BLOCK];
            loop {
                match stream.read(&mut block).context("failed to receive")? {
                    0 => return Ok(()),
                    some => received.fetch_add(some as u64, Relaxed),
                };
            }
        });
        thread::sleep(WARM_UP);
        let measured = measure(&|| {
            thread::sleep(SETTLE);
            let (began, before) = (Instant::now(), received.load(Relaxed));
            thread::sleep(SLICE);
            (received.load(Relaxed) - before) as f64 / began.elapsed().as_secs_f64()
        });
        finished.store(true, Relaxed);
        for end in [sender, receiver] {
            end.join().map_err(|_| anyhow!("an end panicked"))??;
        }
        measured
    })
}

/// Pins this thread to the last CPU.
fn pin() -> Result<()> {
    let cpus = thread::available_parallelism().context("failed to count the CPUs")?;
    let mut last = CpuSet::new();
    last.set(cpus.get() - 1).context("failed to name a CPU")?;
    sched_setaffinity(Pid::from_raw(0), &last).context("failed to choose a CPU")
}

/// The median and the bounds of its confidence interval, which are two of the values (normal
/// approximation of the binomial distribution).
fn median(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let at = |rank: f64| values[(rank.max(0.0) as usize).min(values.len() - 1)];
    let half_width = QUANTILE * count.sqrt() / 2.0;
    (
        at(count / 2.0),
        at(count / 2.0 - half_width),
        at(count / 2.0 + half_width),
    )
}

/// The loaded programs that run during a transfer.
struct Programs {
    wire: Ebpf,
    handshake: Ebpf,
    root: File,
    packets: Vec<(&'static str, CgroupSkbLinkId)>,
    calls: Vec<(&'static str, RawTracePointLinkId)>,
}

impl Programs {
    fn load() -> Result<Self> {
        let root = cgroup::mounted().context("failed to find the root of cgroup v2 mounted")?;
        let root = File::open(&root).with_context(|| format!("failed to open {root:?}"))?;
        let mut wire = EbpfLoader::new()
            .load(aya::include_bytes_aligned!(concat!(
                env!("OUT_DIR"),
                "/wire.ring.bpf.o"
            )))
            .context("failed to load wire (root only)")?;
        for (name, _) in PACKETS {
            program::<&mut CgroupSkb>(&mut wire, name)?.load()?;
        }
        let mut handshake = EbpfLoader::new()
            .load(aya::include_bytes_aligned!(concat!(
                env!("OUT_DIR"),
                "/handshake.ring.bpf.o"
            )))
            .context("failed to load handshake")?;
        for (name, _) in CALLS {
            program::<&mut RawTracePoint>(&mut handshake, name)?.load()?;
        }
        Ok(Self {
            wire,
            handshake,
            root,
            packets: Vec::new(),
            calls: Vec::new(),
        })
    }

    fn attach(&mut self, calls: bool) -> Result<()> {
        for (name, direction) in PACKETS {
            let program = program::<&mut CgroupSkb>(&mut self.wire, name)?;
            let link = program.attach(&self.root, direction, CgroupAttachMode::Single)?;
            self.packets.push((name, link));
        }
        for (name, event) in CALLS.into_iter().filter(|_| calls) {
            let program = program::<&mut RawTracePoint>(&mut self.handshake, name)?;
            let link = program
                .attach(event)
                .with_context(|| format!("failed to attach to {event}, which 6.3 brought"))?;
            self.calls.push((name, link));
        }
        Ok(())
    }

    fn detach(&mut self) -> Result<()> {
        for (name, link) in self.packets.drain(..) {
            program::<&mut CgroupSkb>(&mut self.wire, name)?.detach(link)?;
        }
        for (name, link) in self.calls.drain(..) {
            program::<&mut RawTracePoint>(&mut self.handshake, name)?.detach(link)?;
        }
        Ok(())
    }
}

fn program<'a, P>(object: &'a mut Ebpf, name: &str) -> Result<P>
where
    P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program = object.program_mut(name);
    let program = program.with_context(|| format!("failed to find {name} in its object"))?;
    program
        .try_into()
        .with_context(|| format!("{name} is of another kind"))
}
