//! What the programs cost a long transfer: bytes per second through one TCP connection on loopback with them attached ÷ without. It is
//! no TLS; a TLS connection past its first flights leaves by the same exits. Run by `cargo xtask bench`; by hand
//! `cargo bench -p reprise --bench transfer -- SECONDS`, as root.
//!
//! The programs are attached and detached within one connection, in slices of milliseconds: from one second to the next a machine's rate
//! varies more than what is measured. A pair of neighbouring slices, one with and one without, gives one ratio; which comes first changes.
//! Printed as `name value`: `rate`, bytes per second without; `wire`, the ratio with the two programs that see packets, and `all`, with
//! those at receives and sends as well: medians, each with the bounds of its 95 % confidence interval as `_low` and `_high`.

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

/// Bytes written at once.
const BLOCK: usize = 64 << 10;
/// What is counted at once.
const SLICE: Duration = Duration::from_millis(20);
/// Ahead of it, for what was attached or detached to take effect.
const SETTLE: Duration = Duration::from_millis(3);
/// How long the connection has to find its pace.
const WARM_UP: Duration = Duration::from_millis(500);
/// Two sides of a normal distribution that hold 95 %.
const CONFIDENCE: f64 = 1.96;

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
    let (mut alone, mut wire, mut all) = (Vec::new(), Vec::new(), Vec::new());
    transferring(|rate| {
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
                alone.push(without);
                ratios.push(with / without);
            }
        }
        Ok(())
    })?;
    println!("rate {:.0}", median(&mut alone).0);
    for (name, mut ratios) in [("wire", wire), ("all", all)] {
        let (middle, low, high) = median(&mut ratios);
        println!("{name} {middle:.4}\n{name}_low {low:.4}\n{name}_high {high:.4}");
    }
    Ok(())
}

/// Runs `measure` beside a transfer; it gets what counts one slice, bytes per second. Both ends share the last CPU, so that the rate is
/// that of the work done.
fn transferring(measure: impl FnOnce(&dyn Fn() -> f64) -> Result<()>) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to listen")?;
    let address = listener.local_addr().context("failed to ask for a port")?;
    let (over, received) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let sender = scope.spawn(|| -> Result<()> {
            pin()?;
            let mut stream = TcpStream::connect(address).context("failed to connect")?;
            let block = vec![0; BLOCK];
            while !over.load(Relaxed) {
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
        over.store(true, Relaxed);
        for end in [sender, receiver] {
            end.join().map_err(|_| anyhow!("an end panicked"))??;
        }
        measured
    })
}

/// Keeps this thread on the last CPU.
fn pin() -> Result<()> {
    let cpus = thread::available_parallelism().context("failed to count the CPUs")?;
    let mut last = CpuSet::new();
    last.set(cpus.get() - 1).context("failed to name a CPU")?;
    sched_setaffinity(Pid::from_raw(0), &last).context("failed to choose a CPU")
}

/// The median and the bounds of its confidence interval, which are two of the values (binomial, approximated).
fn median(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let at = |rank: f64| values[(rank.max(0.0) as usize).min(values.len() - 1)];
    let reach = CONFIDENCE * count.sqrt() / 2.0;
    (
        at(count / 2.0),
        at(count / 2.0 - reach),
        at(count / 2.0 + reach),
    )
}

/// The programs that a transfer meets, loaded.
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
