//! Network namespace behind a lossy path.
//!
//! Packets are dropped on receipt. TCP would treat a drop in the sender's output hook as a local
//! error, not as packet loss.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::addresses::{CLIENT_ADDRESSES, HOST_ADDRESS, SESSION_ID_PORT, TICKET_PORT};
use crate::{process, steps::command_line};

/// Name of the clients' namespace.
pub(super) const NAMESPACE: &str = "reprise-demo";

/// Share of packets dropped in each direction.
pub(super) const LOSS_PERCENT: u32 = 15;

const HOST_LINK: &str = "reprise-demo0";
const CLIENT_LINK: &str = "path0";
const TABLE: &str = "reprise_demo";

/// Namespace, link and nftables rules; removed on drop.
pub(super) struct LossyPath(());

impl LossyPath {
    /// Creates the path, after removing remains of a killed run.
    pub(super) fn create() -> Result<Self> {
        remove();
        // Dropped on failure, which removes the parts created so far.
        let path = Self(());
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
        ip(&[
            "address",
            "add",
            &with_prefix(HOST_ADDRESS),
            "dev",
            HOST_LINK,
        ])?;
        for address in CLIENT_ADDRESSES {
            let address = with_prefix(address);
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
        // Without segmentation offload a dropped packet is one TCP segment.
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
        drop_packets(&mut Command::new("nft"), HOST_LINK, "dport")?;
        let mut nft_in_namespace = Command::new("ip");
        nft_in_namespace.args(["netns", "exec", NAMESPACE, "nft"]);
        drop_packets(&mut nft_in_namespace, CLIENT_LINK, "sport")?;
        Ok(path)
    }
}

impl Drop for LossyPath {
    fn drop(&mut self) {
        remove();
    }
}

/// Removes all parts, any of which may be absent. Deleting the namespace removes the link as well,
/// but only later.
fn remove() {
    for (program, args) in [
        ("ip", &["link", "delete", HOST_LINK][..]),
        ("ip", &["netns", "delete", NAMESPACE]),
        ("nft", &["delete", "table", "inet", TABLE]),
    ] {
        let _ = process::run(Command::new(program).args(args));
    }
}

fn with_prefix(address: &str) -> String {
    format!("{address}/24")
}

fn ip(args: &[&str]) -> Result<()> {
    process::run(Command::new("ip").args(args))
}

/// Loads rules that drop a share of the packets received on `link` from or to HAProxy's ports.
fn drop_packets(nft: &mut Command, link: &str, port: &str) -> Result<()> {
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
    let mut stdin = child
        .stdin
        .take()
        .context("failed to open the input of nft")?;
    stdin
        .write_all(rules.as_bytes())
        .context("failed to write the nftables rules")?;
    drop(stdin);
    let status = child.wait().context("failed to wait for nft")?;
    if !status.success() {
        bail!("failed to load the nftables rules ({status})\nremedy: use a kernel with nf_tables");
    }
    Ok(())
}
