//! The command line: commands, flags, defaults and bounds.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use ipnet::IpNet;

use crate::{
    bpf::{
        canary::kind::ProbeKind,
        mode_request::{LibraryData, ModeRequest, Transport},
    },
    host::pods::PodNames,
};
use reprise_core::pipeline::peers::{PREFIX_V4, PREFIX_V6};

/// Longest duration of a flag, seconds: ten years.
const MAX_DURATION_S: u64 = 3_650 * 86_400;

/// Observes TLS handshakes and session resumption on this host, without changes to the programs.
#[derive(Debug, Parser)]
#[command(name = "reprise", version, arg_required_else_help = true)]
pub struct Cli {
    /// Format of log messages.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Level of log messages (error, warn, info, debug), or a tracing filter.
    #[arg(long, global = true, default_value = "info", env = "REPRISE_LOG")]
    pub log: String,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Format of log messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe this host and serve metrics.
    Run(Run),
    /// Observe this host and show a live table, or lines if stdout is not a terminal.
    Watch(Watch),
    /// Observe this host and write the event stream to a file.
    Record(Record),
    /// Evaluate a recorded event stream as if it were live.
    Replay(Replay),
    /// Show which session cache size and lifetime each service needs, and the settings for them.
    Advise(Advise),
    /// Show the TLS libraries of a process or file and where probes would be attached.
    Inspect(Inspect),
    /// Check whether this host meets the requirements, with a remedy for each that it does not.
    Check(Check),
    /// Internal: the agent starts it to try a probe on a child process of its own.
    #[command(hide = true)]
    Canary(Canary),
}

/// Flags of every command that counts handshakes.
#[derive(Debug, Clone, Args)]
pub struct Counting {
    /// TOML file that names networks: `[groups]`, `name = ["10.1.0.0/16"]`. Reloaded on SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub peer_file: Option<PathBuf>,
    /// Prefix length to which the addresses of IPv4 clients are truncated.
    #[arg(long, value_name = "BITS", default_value_t = PREFIX_V4, value_parser = value_parser!(u8).range(..=32))]
    pub peer_prefix_v4: u8,
    /// Prefix length to which the addresses of IPv6 clients are truncated.
    #[arg(long, value_name = "BITS", default_value_t = PREFIX_V6, value_parser = value_parser!(u8).range(..=128))]
    pub peer_prefix_v6: u8,
    /// Name the peers in network namespaces that belong to a user namespace, too (rootless
    /// containers, pods with `hostUsers: false`). Any user can create one and choose the addresses
    /// in it, so they are summed as `other-namespace` by default.
    #[arg(long)]
    pub user_namespace_peers: bool,
    /// Network of balancers whose headers of the PROXY protocol name the peer; may be repeated. Of
    /// other senders the header is ignored, and the peer is the sender.
    #[arg(long, value_name = "CIDR")]
    pub proxy_protocol_from: Vec<IpNet>,
    /// Maximum number of peers with series of their own, the most recently active ones; the others
    /// are summed as `other`.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_peers: u32,
    /// Maximum number of services (ports of a workload that accepts connections) with series of
    /// their own, the most recently active ones; the others are summed as `other`.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_services: u32,
    /// Maximum number of workloads that connect to servers with series of their own, the most
    /// recently active ones; the others are summed as `other`.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_workloads: u32,
    /// Time after which the series of a service or workload without a handshake end, with a unit:
    /// `90s`, `30m`, `12h` or `7d`.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub forget_after: u64,
    /// Time after which the series of a peer without a handshake end: at least `--window`, and
    /// longer than the interval at which clients return.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = parse_duration)]
    pub forget_peers_after: u64,
    /// Maximum number of connections whose retransmissions are retained for their handshake.
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Maximum number of sessions and of tickets retained to explain misses.
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub max_sessions: u32,
    /// Maximum number of services whose session cache is analysed for `reprise advise`, the most
    /// recently active ones; each needs up to 4 MiB.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = value_parser!(u32).range(1..=1_000))]
    pub max_service_caches: u32,
    /// Missed share of a peer's offers above which an alert begins, 0 to 1.
    #[arg(long, value_name = "RATIO", default_value_t = 0.9, value_parser = parse_ratio)]
    pub alert_miss_ratio: f64,
    /// Minimum number of offers in the window for an alert.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = value_parser!(u32).range(1..))]
    pub alert_min_offers: u32,
    /// Length of the window of ratios and alerts, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = value_parser!(u64).range(10..=86_400))]
    pub window: u64,
}

/// Flags of every command that loads programs.
#[derive(Debug, Clone, Copy, Args)]
pub struct Loading {
    /// Transport of events from the kernel to the agent.
    #[arg(
        long,
        value_enum,
        default_value_t,
        env = "REPRISE_TRANSPORT",
        hide_env_values = true
    )]
    pub transport: Transport,
    /// Method by which BPF programs identify the library that they run in.
    #[arg(
        long,
        value_enum,
        default_value_t,
        env = "REPRISE_LIBRARY_DATA",
        hide_env_values = true
    )]
    pub library_data: LibraryData,
    /// Log what the BPF programs discard; requires ring buffers.
    #[arg(long)]
    pub kernel_log: bool,
}

impl Loading {
    /// The requested mode.
    #[must_use]
    pub(crate) const fn request(self) -> ModeRequest {
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
    /// Flags that load programs.
    #[command(flatten)]
    pub loading: Loading,
    /// Do not observe library files below this path; may be repeated.
    #[arg(long, value_name = "PATH")]
    pub ignore: Vec<PathBuf>,
    /// Do not probe a library file while a process maps it whose executable lies below this path;
    /// may be repeated. For programs that a probe would kill: those that run a translated copy of
    /// the code they read, as under Valgrind, and those that check their own code. A probe is in
    /// the file and so in all processes that map it: the handshakes of all of them are counted
    /// from packets meanwhile. The probes are removed within a tenth of a second after the process
    /// has mapped the file; only `--ignore` excludes a file from the beginning.
    #[arg(long, value_name = "PATH")]
    pub ignore_process: Vec<PathBuf>,
    /// Observe only the processes and sockets of this cgroup (v2) and of those below it: its
    /// directory, absolute or relative to the root of the hierarchy.
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Whether services have the names of pods, containers and workloads, which the agent queries
    /// from the API server with the token of its service account.
    #[arg(long, value_enum, default_value_t)]
    pub pod_names: PodNames,
    /// Name of the node whose pods are queried.
    #[arg(long, value_name = "NAME", env = "NODE_NAME", hide_env_values = true)]
    pub node_name: Option<String>,
    /// Maximum number of connections whose TLS hello messages are read at one time.
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_hellos: u32,
    /// Maximum memory for incomplete TLS hello messages of all connections, KiB.
    #[arg(long, value_name = "KIB", default_value_t = 16_384, value_parser = value_parser!(u32).range(64..=1_048_576))]
    pub max_hello_memory: u32,
}

/// `reprise run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Address at which metrics are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9797")]
    pub listen: SocketAddr,
    /// File with access rules (TLS, client certificates, passwords) in the web configuration format
    /// of Prometheus exporters. Reloaded when it changes.
    #[arg(long, value_name = "FILE")]
    pub web_config: Option<PathBuf>,
    /// Host name by which clients may address this agent, in addition to localhost. Without any, an
    /// agent on a loopback address answers to loopback names only, and any other to all names.
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Flags that attach probes.
    #[command(flatten)]
    pub observing: Observing,
    /// Flags that count handshakes.
    #[command(flatten)]
    pub counting: Counting,
}

/// `reprise watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// Address at which metrics are served, too.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// File with access rules (TLS, client certificates, passwords) in the web configuration format
    /// of Prometheus exporters. Reloaded when it changes.
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub web_config: Option<PathBuf>,
    /// Host name by which clients may address this agent, in addition to localhost. Without any, an
    /// agent on a loopback address answers to loopback names only, and any other to all names.
    #[arg(long, value_name = "NAME", requires = "listen")]
    pub allow_host: Vec<String>,
    /// Interval between two updates of the table, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = value_parser!(u64).range(1..=3_600))]
    pub interval: u64,
    /// Flags that attach probes.
    #[command(flatten)]
    pub observing: Observing,
    /// Flags that count handshakes.
    #[command(flatten)]
    pub counting: Counting,
}

/// `reprise record`.
#[derive(Debug, Args)]
pub struct Record {
    /// File for the recording; an existing one is overwritten.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Stop after this time, seconds; otherwise on a signal.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// Flags that attach probes.
    #[command(flatten)]
    pub observing: Observing,
    /// Flags that count handshakes, for the summary at the end.
    #[command(flatten)]
    pub counting: Counting,
}

/// `reprise replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// File with the recording.
    pub file: PathBuf,
    /// First print each missed session in one line: time, peer, role, mechanism, reason, and the
    /// rule with the facts that decided.
    #[arg(long)]
    pub explain: bool,
    /// Print the metrics page instead of the table.
    #[arg(long)]
    pub metrics: bool,
    /// Flags that count handshakes.
    #[command(flatten)]
    pub counting: Counting,
}

/// `reprise advise`.
#[derive(Debug, Args)]
pub struct Advise {
    /// Address of the running agent.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9797")]
    pub connect: String,
    /// Evaluate a recorded event stream instead.
    #[arg(long, value_name = "FILE", conflicts_with = "connect")]
    pub recording: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Flags that count handshakes, for a recording.
    #[command(flatten)]
    pub counting: Counting,
}

/// `reprise inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Process ID, or path of a library file.
    #[arg(value_name = "PID|FILE")]
    pub target: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `reprise check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Flags that load programs.
    #[command(flatten)]
    pub loading: Loading,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `reprise canary`.
#[derive(Debug, Args)]
pub struct Canary {
    /// Kind of the probe.
    #[arg(value_enum)]
    pub kind: ProbeKind,
}

/// Seconds of a duration with a unit.
fn parse_duration(text: &str) -> Result<u64, String> {
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("not a number with the unit s, m, h or d".to_owned()),
    };
    let number = text[..text.len() - unit.len()].parse::<u64>().ok();
    let seconds = number.and_then(|number| number.checked_mul(factor));
    match seconds {
        Some(seconds @ 1..=MAX_DURATION_S) => Ok(seconds),
        _ => Err("not between 1s and 3650d".to_owned()),
    }
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&ratio) {
        Ok(ratio)
    } else {
        Err("not between 0 and 1".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_matches_the_golden_file() {
        let mut cli = Cli::command();
        // Adds the global flags to each command.
        cli.build();
        let mut help = String::new();
        for command in cli
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
    fn bounds_are_enforced() {
        assert!(Cli::try_parse_from(["reprise", "run", "--peer-prefix-v4", "33"]).is_err());
        assert!(Cli::try_parse_from(["reprise", "run", "--window", "0"]).is_err());
        assert!(Cli::try_parse_from(["reprise", "run", "--colour"]).is_err());
        for ratio in ["1.1", "-0.1", "NaN", "half"] {
            assert!(Cli::try_parse_from(["reprise", "run", "--alert-miss-ratio", ratio]).is_err());
        }
        for (text, seconds) in [("90s", 90), ("30m", 1_800), ("1h", 3_600), ("7d", 604_800)] {
            assert_eq!(parse_duration(text), Ok(seconds));
        }
        for text in [
            "",
            "1",
            "s",
            "0s",
            "1w",
            "-1s",
            "1.5h",
            "4000d",
            "99999999999999999999s",
            "1 h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(Cli::try_parse_from(["reprise", "run"]).is_ok());
        for flag in ["--web-config", "--allow-host"] {
            assert!(Cli::try_parse_from(["reprise", "run", flag, "x"]).is_ok());
            assert!(Cli::try_parse_from(["reprise", "watch", flag, "x"]).is_err());
        }
    }
}
