//! Names of peers: groups of the peer file, networks, and addresses. Pure except for
//! [`Groups::load`].

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

use crate::model::{Connection, NetworkNamespace, Observation, Role};

/// A peer, as the metrics name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// A group of the peer file.
    Group(Arc<str>),
    /// Network of a client: its address, truncated to the configured prefix.
    Network(IpNet),
    /// Server of a client.
    Service(SocketAddr),
    /// Ephemeral ports of a server of clients here, folded.
    Ephemeral(IpAddr),
    /// The connection was not found.
    Unknown,
    /// The connection is in a network namespace that a user without rights on the host may have
    /// created, with addresses of the user's choice: they name no peer.
    OtherNamespace,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => f.write_str(name),
            Self::Network(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f),
            Self::Network(net) => net.trunc().fmt(f),
            Self::Service(address) => address.fmt(f),
            Self::Ephemeral(IpAddr::V4(address)) => write!(f, "{address}:ephemeral"),
            Self::Ephemeral(IpAddr::V6(address)) => write!(f, "[{address}]:ephemeral"),
            Self::Unknown => f.write_str("unknown"),
            Self::OtherNamespace => f.write_str("other-namespace"),
        }
    }
}

/// Error in a peer file.
#[derive(Debug, Error)]
pub enum PeerFileError {
    /// The file could not be read.
    #[error("failed to read peer file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The file is not TOML of the expected form.
    #[error("peer file {}, line {line}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Error in one line.
        message: String,
    },
    /// A network is in two groups.
    #[error("peer file {}: {network} is in group {first} and in group {second}", path.display())]
    DuplicateNetwork {
        /// The file.
        path: PathBuf,
        /// The network.
        network: IpNet,
        /// First group, in the order of names.
        first: Arc<str>,
        /// Second group.
        second: Arc<str>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerFile {
    #[serde(default)]
    groups: BTreeMap<String, Vec<IpNet>>,
}

/// Groups of networks.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    by_length: BTreeMap<u8, HashMap<IpNet, Arc<str>>>,
}

impl Groups {
    /// Reads a peer file: TOML, `[groups]`, `name = ["10.1.0.0/16", ...]`.
    ///
    /// # Errors
    ///
    /// [`PeerFileError`], with the file and, for invalid content, the line or the network.
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
                    return Err(PeerFileError::DuplicateNetwork {
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

/// Default prefix length of IPv4 clients: the address itself.
pub const PREFIX_V4: u8 = 32;
/// Default prefix length of IPv6 clients: the network of one host.
pub const PREFIX_V6: u8 = 64;

/// Rules that name peers.
#[derive(Debug, Clone)]
pub struct Naming {
    /// Groups of networks.
    pub groups: Groups,
    /// Prefix length of IPv4 clients, bits.
    pub prefix_v4: u8,
    /// Prefix length of IPv6 clients, bits.
    pub prefix_v6: u8,
    /// Whether network namespaces of user namespaces have peers like all others.
    pub user_namespace_peers: bool,
    /// Networks of the balancers whose headers of the PROXY protocol are believed.
    pub proxy_protocol_from: Vec<IpNet>,
}

impl Default for Naming {
    fn default() -> Self {
        Self {
            groups: Groups::default(),
            prefix_v4: PREFIX_V4,
            prefix_v6: PREFIX_V6,
            user_namespace_peers: false,
            proxy_protocol_from: Vec::new(),
        }
    }
}

impl Naming {
    /// Replaces a trusted balancer by the client that its header of the PROXY protocol names;
    /// returns the balancer, or `None` where nothing was replaced.
    pub(super) fn resolve_client(&self, seen: &mut Observation) -> Option<IpAddr> {
        let client = seen.hello.and_then(|hello| hello.proxied)?;
        let connection = seen.connection.as_mut()?;
        let balancer = connection.remote.ip();
        let mut trusted = self.proxy_protocol_from.iter();
        if seen.role != Role::Server || !trusted.any(|network| network.contains(&balancer)) {
            return None;
        }
        connection.remote = client;
        Some(balancer)
    }

    /// The peer of a handshake in `role` on this connection: the longest matching group, else the
    /// client's network for a server and the address with port for a client.
    #[must_use]
    pub fn name(&self, role: Role, connection: Option<&Connection>) -> Peer {
        let Some(Connection {
            remote, namespace, ..
        }) = connection.copied()
        else {
            return Peer::Unknown;
        };
        if matches!(namespace, NetworkNamespace::User(_)) && !self.user_namespace_peers {
            return Peer::OtherNamespace;
        }
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
    use crate::{
        model::{Offer, Outcome, Resumption},
        pipeline::stats::testing::seen,
    };

    fn naming(text: &str) -> Naming {
        Naming {
            groups: Groups::parse(text, Path::new("peers.toml")).unwrap(),
            prefix_v4: 24,
            ..Naming::default()
        }
    }

    fn named(naming: &Naming, role: Role, remote: &str) -> String {
        named_in(naming, role, remote, NetworkNamespace::Privileged(1))
    }

    fn named_in(naming: &Naming, role: Role, remote: &str, namespace: NetworkNamespace) -> String {
        let connection = Connection {
            local: "192.0.2.1:1".parse().unwrap(),
            remote: remote.parse().unwrap(),
            namespace,
        };
        naming.name(role, Some(&connection)).to_string()
    }

    #[test]
    fn a_users_own_network_has_no_peers_unless_they_are_asked_for() {
        let mut naming = naming("[groups]\nplant = ['10.0.0.0/8']\n");
        let named = |naming: &Naming, remote: &str| {
            let roles = [Role::Server, Role::Client].into_iter();
            let names = roles.map(|role| named_in(naming, role, remote, NetworkNamespace::User(1)));
            names.collect::<Vec<_>>()
        };
        let none = ["other-namespace"; 2];
        assert_eq!(named(&naming, "10.1.2.3:5"), none);
        assert_eq!(named(&naming, "192.0.2.7:5"), none);
        naming.user_namespace_peers = true;
        assert_eq!(named(&naming, "10.1.2.3:5"), ["plant"; 2]);
        assert_eq!(
            named(&naming, "192.0.2.7:5"),
            ["192.0.2.0/24", "192.0.2.7:5"]
        );
    }

    #[test]
    fn the_longest_prefix_is_preferred_and_addresses_are_truncated() {
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
    fn a_host_prefix_is_shown_as_the_plain_address() {
        let naming = Naming {
            prefix_v6: 128,
            ..Naming::default()
        };
        assert_eq!(named(&naming, Role::Server, "127.0.0.5:9"), "127.0.0.5");
        let six = named(&naming, Role::Server, "[2001:db8::1:2]:5");
        assert_eq!(six, "2001:db8::1:2");
    }

    #[test]
    fn only_a_trusted_balancer_names_the_client() {
        let naming = Naming {
            proxy_protocol_from: vec!["10.0.0.0/8".parse().unwrap()],
            ..Naming::default()
        };
        let resolved = |role, balancer: &str, client: Option<&str>| {
            let offer = Offer::Nothing;
            let mut seen = seen(role, balancer, Outcome::Completed(Resumption::Full), offer);
            if let Some(hello) = &mut seen.hello {
                hello.proxied = client.map(|client| client.parse().unwrap());
            }
            let balancer = naming.resolve_client(&mut seen);
            let remote = seen.connection.unwrap().remote.to_string();
            (remote, balancer.map(|balancer| balancer.to_string()))
        };
        let client = Some("192.0.2.7:4000");
        for (role, balancer, client, expected) in [
            (
                Role::Server,
                "10.1.1.1:5",
                client,
                ("192.0.2.7:4000", Some("10.1.1.1")),
            ),
            (Role::Server, "10.1.1.1:5", None, ("10.1.1.1:5", None)),
            (Role::Server, "192.0.2.9:5", client, ("192.0.2.9:5", None)),
            (Role::Client, "10.1.1.1:5", client, ("10.1.1.1:5", None)),
        ] {
            let (remote, via) = resolved(role, balancer, client);
            assert_eq!((remote.as_str(), via.as_deref()), expected);
        }
    }

    #[test]
    fn errors_contain_file_and_line() {
        let error = |text: &str| Groups::parse(text, Path::new("peers.toml")).unwrap_err();
        let message = error("[groups]\na = ['10.0.0.0/33']").to_string();
        assert!(
            message.starts_with("peer file peers.toml, line 2: "),
            "{message}"
        );
        assert!(matches!(error("[group]"), PeerFileError::Parse { .. }));
        assert!(matches!(
            error("[groups]\na = ['10.0.0.0/8']\nb = ['10.9.9.9/8']"),
            PeerFileError::DuplicateNetwork { .. }
        ));
    }
}
