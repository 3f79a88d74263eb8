//! Two network namespaces connected by a veth pair; nftables rules of the receiver drop packets.
//!
//! The rule is always in the receiver's INPUT chain: a drop in the sender's OUTPUT chain is a
//! failed send and not a loss.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::process::run;

/// The client's address.
pub const CLIENT_IP: &str = "10.77.0.1";
/// The server's address.
pub const SERVER_IP: &str = "10.77.0.2";

/// First two bytes of the client's additional addresses.
pub const CLIENT_NET: &str = "10.78";
/// First two bytes of the server's additional addresses.
pub const SERVER_NET: &str = "10.79";

/// The pair of namespaces; removed when dropped.
#[derive(Debug)]
pub struct Namespaces {
    /// Name of the client's namespace.
    pub client: String,
    /// Name of the server's namespace.
    pub server: String,
}

impl Namespaces {
    /// Creates the pair and connects it.
    ///
    /// # Panics
    /// If the host does not support namespaces, veth or nftables.
    #[must_use]
    pub fn new() -> Self {
        let id = std::process::id();
        let pair = Self {
            client: format!("rpc{id}"),
            server: format!("rps{id}"),
        };
        let (c, s) = (&pair.client, &pair.server);
        ip(&format!("netns add {c}"));
        ip(&format!("netns add {s}"));
        ip(&format!(
            "link add v0 netns {c} type veth peer name v0 netns {s}"
        ));
        for (name, address) in [(c, CLIENT_IP), (s, SERVER_IP)] {
            ip(&format!("-n {name} addr add {address}/24 dev v0"));
            ip(&format!("-n {name} link set lo up"));
            // Each buffer is one packet, so that a rule matches single packets.
            ip(&format!("-n {name} link set v0 up gso_max_segs 1"));
            pair.set(name, "net.netfilter.nf_conntrack_acct=1");
        }
        pair
    }

    /// Sets a kernel parameter (`name=value`) in namespace `name`.
    ///
    /// # Panics
    /// If the kernel rejects it.
    pub fn set(&self, name: &str, parameter: &str) {
        run(Command::new("ip").args(["netns", "exec", name, "sysctl", "-qw", parameter]));
    }

    /// Adds the networks [`CLIENT_NET`] and [`SERVER_NET`], so that each connection can have its
    /// own pair of addresses.
    ///
    /// # Panics
    /// If the routes cannot be added.
    pub fn add_networks(&self) {
        let (c, s) = (&self.client, &self.server);
        for (name, own, other, via) in [
            (c, CLIENT_NET, SERVER_NET, SERVER_IP),
            (s, SERVER_NET, CLIENT_NET, CLIENT_IP),
        ] {
            ip(&format!("-n {name} route add local {own}.0.0/16 dev lo"));
            ip(&format!("-n {name} route add {other}.0.0/16 via {via}"));
        }
    }

    /// Installs one rule in the INPUT chain of namespace `name`.
    ///
    /// # Panics
    /// If nft rejects it.
    pub fn rule(&self, name: &str, rule: &str) {
        self.rules(name, "", rule);
    }

    /// Replaces the rules in the INPUT chain of namespace `name`, one per line, and the sets that
    /// they use.
    ///
    /// # Panics
    /// If nft rejects them.
    pub fn rules(&self, name: &str, sets: &str, rules: &str) {
        let text = format!(
            "flush ruleset\ntable inet t {{\n {sets}\n chain in {{\n  type filter hook input priority 0; policy accept;\n  \
             {rules}\n }}\n}}\n"
        );
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", name, "nft", "-f", "-"])
            .stdin(Stdio::piped());
        let mut nft = command.spawn().expect("failed to start nft");
        let mut stdin = nft.stdin.take().expect("nft has a stdin");
        stdin
            .write_all(text.as_bytes())
            .expect("failed to write to nft");
        drop(stdin);
        let status = nft.wait().expect("failed to wait for nft");
        assert!(status.success(), "nft refused {text:?}: {status}");
    }

    /// Returns the number of packets that the rule of namespace `name` has dropped.
    ///
    /// # Panics
    /// If there is no rule with a counter.
    #[must_use]
    pub fn dropped(&self, name: &str) -> u32 {
        let text = run(Command::new("ip").args(["netns", "exec", name, "nft", "list", "ruleset"]));
        let count = text
            .split("counter packets ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse().ok());
        count.unwrap_or_else(|| panic!("no counter in {text}"))
    }

    /// Returns the kernel's count of retransmitted segments, including SYNs and SYN-ACKs, in
    /// namespace `name`.
    ///
    /// # Panics
    /// If the kernel does not report it.
    #[must_use]
    pub fn retransmitted(&self, name: &str) -> u32 {
        counter(&read_in(name, "/proc/net/snmp"), "Tcp:", "RetransSegs")
    }

    /// Returns the kernel's count of retransmitted SYNs and SYN-ACKs in namespace `name`.
    ///
    /// # Panics
    /// If the kernel does not report it.
    #[must_use]
    pub fn syns_retransmitted(&self, name: &str) -> u32 {
        counter(
            &read_in(name, "/proc/net/netstat"),
            "TcpExt:",
            "TCPSynRetrans",
        )
    }

    /// Returns a command prefix that runs a command in namespace `name`.
    #[must_use]
    pub fn exec(name: &str) -> [&str; 4] {
        ["ip", "netns", "exec", name]
    }
}

/// Reads a file of `/proc/net` in namespace `name`.
fn read_in(name: &str, path: &str) -> String {
    run(Command::new("ip").args(["netns", "exec", name, "cat", path]))
}

/// The counter `wanted` of a group, in the text of `/proc/net/snmp` or `/proc/net/netstat`.
fn counter(text: &str, group: &str, wanted: &str) -> u32 {
    let mut lines = text
        .lines()
        .filter(|line| line.split(' ').next() == Some(group));
    let mut next = || {
        lines
            .next()
            .unwrap_or_else(|| panic!("no {group} in {text}"))
    };
    let (names, values) = (next(), next());
    let pair = names
        .split(' ')
        .zip(values.split(' '))
        .find(|(name, _)| *name == wanted);
    pair.and_then(|(_, value)| value.parse().ok())
        .unwrap_or_else(|| panic!("no {wanted} in {text}"))
}

impl Default for Namespaces {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.client, &self.server] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' ')));
}
