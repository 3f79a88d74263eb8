//! `cargo xtask demo`: HAProxy with session resumption, clients that reconnect to it, and the
//! agent's live table of the handshakes.
//!
//! Some clients never offer a session, and some have a lossy network path. Each part cleans up on
//! drop, so nothing remains after an error or Ctrl-C.

mod addresses;
mod clients;
mod network;
mod server;
mod summary;

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::{
    build, interrupt, page, paths,
    process::{self, Process, TempDirectory},
    setup::{self, Purpose},
};

/// Limit for the shutdown of the agent, which promises 2 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// Flags of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Duration of the observation, seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Address of the agent's metrics page
    #[arg(long, default_value = "127.0.0.1:9797")]
    listen: SocketAddr,
}

/// Installs dependencies, builds, and runs the demo.
pub(crate) fn run(args: &Args) -> Result<()> {
    paths::require_root("demo")?;
    // Fails before the build, which takes minutes.
    TcpListener::bind(args.listen).with_context(|| {
        format!(
            "failed to listen on {} (remedy: choose another address with --listen)",
            args.listen
        )
    })?;
    setup::run(Purpose::Build)?;
    let agent = build::agent()?;
    interrupt::install()?;

    let directory = TempDirectory::create("demo")?;
    let _network = network::LossyPath::create()?;
    let _server = server::start(directory.path())?;
    let _clients = clients::start(directory.path())?;
    println!(
        "\nHAProxy: {} (TLS 1.2, session IDs) and {} (TLS 1.3, tickets)\n\
         clients: on loopback, and over a path with {} % packet loss in each direction\n\
         page: http://{}/, for {} s (Ctrl-C stops the demo)\n",
        addresses::SESSION_ID_PORT,
        addresses::TICKET_PORT,
        network::LOSS_PERCENT,
        args.listen,
        args.seconds,
    );
    observe(&agent, args)
}

/// Runs the agent in this terminal, and reads its metrics page before stopping it.
fn observe(agent: &Path, args: &Args) -> Result<()> {
    let mut command = process::with_parent_death_signal(agent, "INT");
    command
        .args(["watch", "--listen", &args.listen.to_string()])
        .stdin(Stdio::inherit());
    let mut agent = Process::spawn_foreground("the agent", &mut command)?;
    let deadline = Instant::now() + Duration::from_secs(args.seconds);
    while Instant::now() < deadline && !interrupt::received() {
        if let Some(status) = agent.exit_status()? {
            // In a terminal the agent reads the keys, and the user may have quit it.
            if status.success() {
                return Ok(());
            }
            bail!("the agent ended unexpectedly ({status})");
        }
        thread::sleep(Duration::from_millis(100));
    }
    let page = page::metrics(args.listen);
    let status = agent.stop(Signal::SIGINT, STOP_TIMEOUT)?;
    match page {
        Ok(page) => println!(
            "\nfrom http://{}/metrics:\n{}",
            args.listen,
            summary::samples(&page)
        ),
        // The agent receives Ctrl-C too and may have ended.
        Err(error) if interrupt::received() => println!("\nno metrics page: {error:#}"),
        Err(error) => return Err(error),
    }
    if !status.success() {
        bail!("the agent failed ({status})");
    }
    Ok(())
}
