//! `cargo xtask demo`: HAProxy as an operator configures it, clients that reconnect, some of them
//! over a lossy path, some that never offer a session; and the agent's live table of it all.
//!
//! Whatever ends it, nothing stays behind: each part removes itself when it is dropped.

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
    process::{self, Process},
    setup::{self, Purpose},
};

/// How long the agent may take to end once it is asked to (the contract says 2 s).
const GRACE: Duration = Duration::from_secs(4);

/// Flags of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to watch
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Where the agent serves its metrics page
    #[arg(long, default_value = "127.0.0.1:9797")]
    listen: SocketAddr,
}

/// Sets up, builds, runs everything for the time wanted, and cleans up.
pub(crate) fn run(args: &Args) -> Result<()> {
    paths::require_root("demo")?;
    // Known now, rather than after minutes of building; the agent binds it for itself.
    TcpListener::bind(args.listen).with_context(|| {
        format!(
            "failed to listen on {} (remedy: choose another address by --listen)",
            args.listen
        )
    })?;
    setup::run(Purpose::Build)?;
    let agent = build::agent()?;
    interrupt::install()?;

    let directory = process::TempDirectory::create("demo")?;
    let _network = network::Lossy::create()?;
    let _server = server::start(directory.path())?;
    let _clients = clients::start(directory.path())?;
    println!(
        "\nHAProxy: {} (TLS 1.2, session IDs) and {} (TLS 1.3, tickets)\n\
         clients: on loopback, and over a path that loses {} % each way\n\
         page: http://{}/, for the next {} s (Ctrl-C ends earlier)\n",
        addresses::SESSION_ID_PORT,
        addresses::TICKET_PORT,
        network::LOSS_PERCENT,
        args.listen,
        args.seconds,
    );
    watch(&agent, args)
}

/// Runs the agent on this terminal, reads its page once at the end, and stops it.
fn watch(agent: &Path, args: &Args) -> Result<()> {
    let mut command = process::with_parent_death_signal(agent, "INT");
    command
        .args(["watch", "--listen", &args.listen.to_string()])
        .stdin(Stdio::inherit());
    let mut agent = Process::spawn_foreground("the agent", &mut command)?;
    let end = Instant::now() + Duration::from_secs(args.seconds);
    while Instant::now() < end && !interrupt::received() {
        if let Some(status) = agent.exit_status()? {
            // On a terminal the keys are the agent's, Ctrl-C too: whoever has seen enough ends it.
            if status.success() {
                return Ok(());
            }
            bail!("failed to watch: the agent ended by itself ({status})");
        }
        thread::sleep(Duration::from_millis(100));
    }
    let page = page::metrics(args.listen);
    let status = agent.stop(Signal::SIGINT, GRACE)?;
    match page {
        Ok(page) => println!(
            "\nfrom http://{}/metrics:\n{}",
            args.listen,
            summary::of(&page)
        ),
        // After Ctrl-C the agent, which got it too, may be gone already.
        Err(error) if interrupt::received() => println!("\nno metrics page any more: {error:#}"),
        Err(error) => return Err(error),
    }
    if !status.success() {
        bail!("the agent did not end well ({status})");
    }
    Ok(())
}
