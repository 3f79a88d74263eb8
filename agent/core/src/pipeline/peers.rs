//! Who the peer is: groups of the peer file, prefixes, and the name that metrics show. Pure but for [`Groups::load`].

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;
use serde::Deserialize;
use thiserror::Error;

use crate::model::Role;

/// A peer as metrics show it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// A group of the peer file.
    Group(Arc<str>),
    /// An address, cut to the configured prefix.
    Network(IpNet),
    /// Server seen from a client.
    Service(SocketAddr),
    /// The handshake's socket was not found.
    Unknown,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => f.write_str(name),
            Self::Network(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f),
            Self::Network(net) => net.trunc().fmt(f),
            Self::Service(address) => address.fmt(f),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Why a peer file was refused.
#[derive(Debug, Error)]
pub enum PeerFileError {
    /// It could not be read.
    #[error("failed to read peer file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML of the expected form.
    #[error("peer file {}, line {line}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, one line.
        message: String,
    },
    /// The same network is in two groups.
    #[error("peer file {}: {network} is in group {first} and in group {second}", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The network.
        network: IpNet,
        /// First group in the order of names.
        first: Arc<str>,
        /// The other.
        second: Arc<str>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerFile {
    #[serde(default)]
    groups: BTreeMap<String, Vec<IpNet>>,
}

/// Names for networks, longest prefix first.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    by_length: BTreeMap<u8, HashMap<IpNet, Arc<str>>>,
}

impl Groups {
    /// Reads a peer file: TOML, `[groups]`, `name = ["10.1.0.0/16", ...]`.
    ///
    /// # Errors
    ///
    /// [`PeerFileError`] that names the file and, for bad content, the line or the network.
    pub fn load(path: &Path) -> Result<Self, PeerFileError> {
        let text = fs::read_to_string(path).map_err(|source| PeerFileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, PeerFileError> {
        let file: PeerFile = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            PeerFileError::Parse {
                path: path.to_owned(),
                line: text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1,
                message: error.message().replace('\n', ", "),
            }
        })?;
        let mut groups = Self::default();
        for (name, networks) in file.groups {
            let name: Arc<str> = name.into();
            for network in networks {
                let network = network.trunc();
                let slot = groups.by_length.entry(network.prefix_len()).or_default();
                if let Some(first) = slot.insert(network, Arc::clone(&name)) {
                    return Err(PeerFileError::Twice {
                        path: path.to_owned(),
                        network,
                        first,
                        second: name,
                    });
                }
            }
        }
        Ok(groups)
    }

    fn find(&self, address: IpAddr) -> Option<&Arc<str>> {
        self.by_length.iter().rev().find_map(|(length, networks)| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            networks.get(&network)
        })
    }
}

/// What IPv4 addresses are cut to where nothing else is asked for: nothing.
pub const PREFIX_V4: u8 = 32;
/// What IPv6 addresses are cut to where nothing else is asked for: the network of one host.
pub const PREFIX_V6: u8 = 64;

/// How peers are named.
#[derive(Debug, Clone)]
pub struct Naming {
    /// Names for networks.
    pub groups: Groups,
    /// IPv4 addresses are cut to this many bits.
    pub prefix_v4: u8,
    /// IPv6 addresses are cut to this many bits.
    pub prefix_v6: u8,
}

impl Default for Naming {
    fn default() -> Self {
        Self {
            groups: Groups::default(),
            prefix_v4: PREFIX_V4,
            prefix_v6: PREFIX_V6,
        }
    }
}

impl Naming {
    /// The peer of a handshake in `role` whose other end is `remote`: the client's network for a server, the service for a
    /// client.
    #[must_use]
    pub fn name(&self, role: Role, remote: Option<SocketAddr>) -> Peer {
        let Some(remote) = remote else {
            return Peer::Unknown;
        };
        if let Some(name) = self.groups.find(remote.ip()) {
            return Peer::Group(Arc::clone(name));
        }
        if role == Role::Client {
            return Peer::Service(remote);
        }
        let length = if remote.is_ipv4() {
            self.prefix_v4
        } else {
            self.prefix_v6
        };
        IpNet::new(remote.ip(), length).map_or(Peer::Unknown, |net| Peer::Network(net.trunc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(text: &str) -> Naming {
        Naming {
            groups: Groups::parse(text, Path::new("peers.toml")).unwrap(),
            prefix_v4: 24,
            ..Naming::default()
        }
    }

    fn named(naming: &Naming, role: Role, remote: &str) -> String {
        naming.name(role, Some(remote.parse().unwrap())).to_string()
    }

    #[test]
    fn longest_prefix_wins_then_the_address_is_cut() {
        let naming =
            naming("[groups]\nplant = ['10.0.0.0/8']\nhall = ['10.1.0.0/16', 'fd00::/8']\n");
        assert_eq!(named(&naming, Role::Server, "10.1.2.3:5"), "hall");
        assert_eq!(named(&naming, Role::Server, "10.2.2.3:5"), "plant");
        assert_eq!(named(&naming, Role::Client, "[fd00::1]:443"), "hall");
        assert_eq!(named(&naming, Role::Server, "192.0.2.7:5"), "192.0.2.0/24");
        assert_eq!(
            named(&naming, Role::Client, "192.0.2.7:443"),
            "192.0.2.7:443"
        );
        assert_eq!(
            named(&naming, Role::Server, "[2001:db8::1:2]:5"),
            "2001:db8::/64"
        );
        assert_eq!(naming.name(Role::Server, None).to_string(), "unknown");
    }

    #[test]
    fn a_host_prefix_shows_the_plain_address() {
        let naming = Naming {
            prefix_v6: 128,
            ..Naming::default()
        };
        assert_eq!(named(&naming, Role::Server, "127.0.0.5:9"), "127.0.0.5");
        let six = named(&naming, Role::Server, "[2001:db8::1:2]:5");
        assert_eq!(six, "2001:db8::1:2");
    }

    #[test]
    fn bad_files_name_file_and_line() {
        let error = |text: &str| Groups::parse(text, Path::new("peers.toml")).unwrap_err();
        let shown = error("[groups]\na = ['10.0.0.0/33']").to_string();
        assert!(
            shown.starts_with("peer file peers.toml, line 2: "),
            "{shown}"
        );
        assert!(matches!(error("[group]"), PeerFileError::Parse { .. }));
        assert!(matches!(
            error("[groups]\na = ['10.0.0.0/8']\nb = ['10.9.9.9/8']"),
            PeerFileError::Twice { .. }
        ));
    }
}
