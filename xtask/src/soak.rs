//! `cargo xtask soak`: the agent under mixed churn for a given time. Processes come and go,
//! libraries are loaded and removed, containers start and end, servers and the agent reload, and
//! clients of both attack. Reports what must not grow with time, and compares it with earlier runs.

mod agent;
mod cgroup;
mod load;
mod report;
mod sample;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use self::{
    agent::Agent,
    cgroup::Cgroup,
    load::Load,
    report::{Accuracy, Report},
    sample::Sample,
};
use crate::{
    build, certificate, interrupt, paths,
    process::TempDirectory,
    setup::{self, Purpose},
};

/// Interval of the samples. No multiple or divisor of the intervals of the load and of the agent's
/// own sweeps: samples that always meet the same moment of a cycle would not show its mean.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(3_700);
/// Interval at which the agent reads its peer file again.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// Time after which the agent has counted the last handshake.
const SETTLE: Duration = Duration::from_secs(5);

/// Flags of `cargo xtask soak`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Duration, minutes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,
    /// Agent binary to run; default: build one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

/// Runs the load and prints the report; fails if a control handshake was not counted.
pub(crate) fn run(args: &Args) -> Result<()> {
    paths::require_root("soak")?;
    let binary = match &args.agent {
        Some(path) => path.clone(),
        None => {
            setup::run(Purpose::Build)?;
            build::agent()?
        }
    };
    interrupt::install()?;
    let directory = TempDirectory::create("soak")?;
    certificate::create(directory.path(), &["127.0.0.1"])?;
    let cgroup = Cgroup::create()?;
    let cgroup = cgroup.as_ref().map(Cgroup::path);
    let agent = Agent::start(&binary, directory.path(), cgroup)?;
    println!("\n{} min of churn, one sample per line", args.minutes);
    let mut load = Load::start(directory.path(), agent.address(), cgroup)?;
    let samples = observe(&agent, Duration::from_secs(60 * args.minutes))?;
    load.stop_control()?;
    std::thread::sleep(SETTLE);
    let accuracy = Accuracy {
        made: load.control_handshakes()?,
        counted: agent.control_handshakes()?,
    };
    drop(load);
    agent.stop()?;
    let report = Report::new(args.minutes, &samples, accuracy)
        .context("the run was too short for a report")?;
    println!("\n{report}");
    let store = paths::target()?.join("soak");
    fs::create_dir_all(&store).context("failed to create the directory of the reports")?;
    for earlier in Report::load_all(&store)? {
        println!("{}", report.compare(&earlier));
    }
    report.save(&store)?;
    if accuracy.counted != accuracy.made {
        bail!("the agent did not count every control handshake");
    }
    Ok(())
}

/// Takes samples, and makes the agent reload, until the time is over.
fn observe(agent: &Agent, duration: Duration) -> Result<Vec<Sample>> {
    let start = Instant::now();
    let mut samples = Vec::new();
    let (mut sampled, mut reloads) = (start, 0);
    while start.elapsed() < duration {
        if interrupt::received() {
            bail!("interrupted");
        }
        std::thread::sleep(Duration::from_millis(100));
        if start.elapsed() > RELOAD_INTERVAL * reloads {
            reloads += 1;
            agent.reload(reloads)?;
        }
        if sampled.elapsed() >= SAMPLE_INTERVAL {
            sampled = Instant::now();
            let sample = agent.sample(start.elapsed())?;
            println!("  {sample}");
            samples.push(sample);
        }
    }
    Ok(samples)
}
