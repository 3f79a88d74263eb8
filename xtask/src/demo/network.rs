//! A network namespace behind a path that loses packets.
//!
//! Packets are dropped on receipt, never on sending: a drop in the sender's OUTPUT is reported to
//! TCP as an error of the device, and is not what a lossy path does.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::addresses::{CLIENT_ADDRESSES, HOST_ADDRESS, SESSION_ID_PORT, TICKET_PORT};
use crate::{process, steps::command_line};

/// The namespace of the clients.
pub(super) const NAMESPACE: &str = "reprise-demo";

/// Share of packets lost in each direction.
pub(super) const LOSS_PERCENT: u32 = 15;

const HOST_LINK: &str = "reprise-demo0";
const CLIENT_LINK: &str = "path0";
const TABLE: &str = "reprise_demo";

/// The namespace, the link and the rules; all removed when this is dropped.
pub(super) struct Lossy(());

impl Lossy {
    /// Makes the path, after removing what a killed run may have left.
    pub(super) fn create() -> Result<Self> {
        remove();
        // From here on a failure removes what was made.
        let lossy = Self(());
        ip(&["netns", "add", NAMESPACE])?;
        ip(&[
            "link",
            "add",
            HOST_LINK,
            "type",
            "veth",
            "peer",
            "name",
            CLIENT_LINK,
            "netns",
            NAMESPACE,
        ])?;
        ip(&["address", "add", &network(HOST_ADDRESS), "dev", HOST_LINK])?;
        for address in CLIENT_ADDRESSES {
            let address = network(address);
            ip(&[
                "-n",
                NAMESPACE,
                "address",
                "add",
                &address,
                "dev",
                CLIENT_LINK,
            ])?;
        }
        // Without segmentation offload one dropped packet is one lost segment.
        ip(&["link", "set", HOST_LINK, "up", "gso_max_segs", "1"])?;
        ip(&["-n", NAMESPACE, "link", "set", "lo", "up"])?;
        ip(&[
            "-n",
            NAMESPACE,
            "link",
            "set",
            CLIENT_LINK,
            "up",
            "gso_max_segs",
            "1",
        ])?;
        lose(&mut Command::new("nft"), HOST_LINK, "dport")?;
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", NAMESPACE, "nft"]);
        lose(&mut inside, CLIENT_LINK, "sport")?;
        Ok(lossy)
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        remove();
    }
}

/// Each part may be absent; what is there goes. The link goes with its namespace, but later.
fn remove() {
    for (program, args) in [
        ("ip", &["link", "delete", HOST_LINK][..]),
        ("ip", &["netns", "delete", NAMESPACE]),
        ("nft", &["delete", "table", "inet", TABLE]),
    ] {
        let _ = process::run(Command::new(program).args(args));
    }
}

fn network(address: &str) -> String {
    format!("{address}/24")
}

fn ip(args: &[&str]) -> Result<()> {
    process::run(Command::new("ip").args(args))
}

/// Loads a table that drops a share of what this end receives of HAProxy's ports.
fn lose(nft: &mut Command, link: &str, port: &str) -> Result<()> {
    let rules = format!(
        "table inet {TABLE} {{\n chain input {{\n  type filter hook input priority 0; policy accept;\n  \
         iifname \"{link}\" tcp {port} {{ {}, {} }} numgen random mod 100 < {LOSS_PERCENT} counter drop\n \
         }}\n}}\n",
        SESSION_ID_PORT, TICKET_PORT,
    );
    let mut child = nft
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", command_line(nft)))?;
    let mut stdin = child.stdin.take().context("failed to reach nft")?;
    stdin
        .write_all(rules.as_bytes())
        .context("failed to write nft's rules")?;
    drop(stdin);
    let status = child.wait().context("failed to wait for nft")?;
    if !status.success() {
        bail!("failed to load nftables rules ({status})\nremedy: use a kernel with nf_tables");
    }
    Ok(())
}
