//! The command line: what each command takes, its defaults and bounds.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::{
    bpf::{
        canary::kind::ProbeKind,
        mode_request::{LibraryData, ModeRequest, Transport},
    },
    host::pods::PodNames,
};
use reprise_core::pipeline::peers::{PREFIX_V4, PREFIX_V6};

/// Observes TLS handshakes and session resumption on this host, without touching the programs that make them.
#[derive(Debug, Parser)]
#[command(name = "reprise", version, arg_required_else_help = true)]
pub struct Cli {
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Which log lines are written: error, warn, info, debug, or a tracing filter.
    #[arg(long, global = true, default_value = "info", env = "REPRISE_LOG")]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe this host and serve metrics.
    Run(Run),
    /// The same observation as a live table; lines where stdout is no terminal.
    Watch(Watch),
    /// Write the raw event stream to a file.
    Record(Record),
    /// Run a recorded stream through the same correlation.
    Replay(Replay),
    /// Which TLS library, which probes would be placed where, which fields were found, or why none.
    Inspect(Inspect),
    /// Is this host ready? One line for each thing that observation needs, with the remedy.
    Check(Check),
    /// The agent itself starts this, to try a probe on a process of its own before it touches others.
    #[command(hide = true)]
    Canary(Canary),
}

/// Flags of every command that turns events into sums.
#[derive(Debug, Clone, Args)]
pub struct Counting {
    /// TOML file that names networks: `[groups]`, `name = ["10.1.0.0/16"]`. Read again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub peer_file: Option<PathBuf>,
    /// Bits that IPv4 clients are cut to.
    #[arg(long, value_name = "BITS", default_value_t = PREFIX_V4, value_parser = value_parser!(u8).range(..=32))]
    pub peer_prefix_v4: u8,
    /// Bits that IPv6 clients are cut to.
    #[arg(long, value_name = "BITS", default_value_t = PREFIX_V6, value_parser = value_parser!(u8).range(..=128))]
    pub peer_prefix_v6: u8,
    /// Peers shown by name, the most recently active ones; the others are summed as `other`.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_peers: u32,
    /// Workloads and ports shown by name, the most recently active ones; the others are summed as `other`.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_workloads: u32,
    /// Connections whose retransmissions are remembered until a handshake claims them.
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Sessions and tickets remembered, of each kind, to tell why one was missed.
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub max_sessions: u32,
    /// Missed share of a peer's offers beyond which it is an alert, 0 to 1.
    #[arg(long, value_name = "RATIO", default_value_t = 0.9, value_parser = share)]
    pub alert_miss_ratio: f64,
    /// Offers in the window, below which there is no alert.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = value_parser!(u32).range(1..))]
    pub alert_min_offers: u32,
    /// Window behind ratios and alerts, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = value_parser!(u64).range(10..=86_400))]
    pub window: u64,
}

/// Flags of every command that loads programs.
#[derive(Debug, Clone, Copy, Args)]
pub struct Loading {
    /// What events reach the agent by.
    #[arg(
        long,
        value_enum,
        default_value_t,
        env = "REPRISE_TRANSPORT",
        hide_env_values = true
    )]
    pub transport: Transport,
    /// How programs know which library they run in.
    #[arg(
        long,
        value_enum,
        default_value_t,
        env = "REPRISE_LIBRARY_DATA",
        hide_env_values = true
    )]
    pub library_data: LibraryData,
    /// Log in words what the programs in the kernel give up; needs ring buffers.
    #[arg(long)]
    pub kernel_log: bool,
}

impl Loading {
    /// What was asked for.
    #[must_use]
    pub const fn wanted(self) -> ModeRequest {
        ModeRequest {
            transport: self.transport,
            library_data: self.library_data,
            log: self.kernel_log,
        }
    }
}

/// Flags of every command that attaches probes.
#[derive(Debug, Clone, Args)]
pub struct Observing {
    /// Loading.
    #[command(flatten)]
    pub loading: Loading,
    /// Leave library files below this path alone; may be given more than once.
    #[arg(long, value_name = "PATH")]
    pub ignore: Vec<PathBuf>,
    /// Read the packets of sockets in this cgroup (v2) and those below it alone, instead of all; a directory.
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Whether workloads in containers get the names of their pods: asked of the API server where there is a token of a service
    /// account.
    #[arg(long, value_enum, default_value_t)]
    pub pod_names: PodNames,
    /// Name of the node whose pods are asked for.
    #[arg(long, value_name = "NAME", env = "NODE_NAME", hide_env_values = true)]
    pub node_name: Option<String>,
    /// Connections whose TLS hellos are followed at one time.
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_hellos: u32,
    /// Memory for hellos that are not complete, in KiB over all connections.
    #[arg(long, value_name = "KIB", default_value_t = 16_384, value_parser = value_parser!(u32).range(64..=1_048_576))]
    pub max_hello_memory: u32,
}

/// `reprise run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Address of the metrics page.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9797")]
    pub listen: SocketAddr,
    /// Who may read the pages, and how: TLS, client certificates, passwords, in the web configuration format of Prometheus'
    /// exporters. Read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub web_config: Option<PathBuf>,
    /// Observing.
    #[command(flatten)]
    pub observing: Observing,
    /// Counting.
    #[command(flatten)]
    pub counting: Counting,
}

/// `reprise watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// Serve the metrics page there as well.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Who may read the pages, and how: TLS, client certificates, passwords, in the web configuration format of Prometheus'
    /// exporters. Read again when it changes.
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub web_config: Option<PathBuf>,
    /// Seconds between two pictures.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = value_parser!(u64).range(1..=3_600))]
    pub interval: u64,
    /// Observing.
    #[command(flatten)]
    pub observing: Observing,
    /// Counting.
    #[command(flatten)]
    pub counting: Counting,
}

/// `reprise record`.
#[derive(Debug, Args)]
pub struct Record {
    /// The recording; an old one is overwritten.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Stop after this many seconds; without it, on a signal.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// Observing.
    #[command(flatten)]
    pub observing: Observing,
    /// Counting, for the summary at the end.
    #[command(flatten)]
    pub counting: Counting,
}

/// `reprise replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The recording.
    pub file: PathBuf,
    /// Print the metrics page instead of the table.
    #[arg(long)]
    pub metrics: bool,
    /// Counting.
    #[command(flatten)]
    pub counting: Counting,
}

/// `reprise inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A process ID, or the path of a library.
    #[arg(value_name = "PID|FILE")]
    pub target: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `reprise check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Loading.
    #[command(flatten)]
    pub loading: Loading,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `reprise canary`.
#[derive(Debug, Args)]
pub struct Canary {
    /// What the probe sits on.
    #[arg(value_enum)]
    pub kind: ProbeKind,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err("not between 0 and 1".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_matches_the_golden_file() {
        let mut help = String::new();
        for command in Cli::command()
            .get_subcommands_mut()
            .filter(|command| !command.is_hide_set())
        {
            let text = command.render_long_help().to_string();
            help.push_str(&format!("# {}\n{text}\n", command.get_name()));
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/commands/cli.golden.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &help).unwrap();
        }
        let golden = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            help, golden,
            "UPDATE_GOLDEN=1 rewrites it; then read the difference"
        );
    }

    #[test]
    fn bounds_are_kept() {
        assert!(Cli::try_parse_from(["reprise", "run", "--peer-prefix-v4", "33"]).is_err());
        assert!(Cli::try_parse_from(["reprise", "run", "--window", "0"]).is_err());
        assert!(Cli::try_parse_from(["reprise", "run", "--colour"]).is_err());
        for ratio in ["1.1", "-0.1", "NaN", "half"] {
            assert!(Cli::try_parse_from(["reprise", "run", "--alert-miss-ratio", ratio]).is_err());
        }
        assert!(Cli::try_parse_from(["reprise", "run"]).is_ok());
    }
}
