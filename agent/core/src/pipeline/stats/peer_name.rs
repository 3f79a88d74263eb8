//! From the shown name of a peer back to the peer.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::pipeline::peers::Peer;

/// All peers that are shown under this name: a group may be named like an address.
pub(super) fn peers_named(name: &str) -> Vec<Peer> {
    let address: Option<IpAddr> = name.parse().ok();
    let network: Option<IpNet> = name.parse().ok();
    let service: Option<SocketAddr> = name.parse().ok();
    let folded = name.strip_suffix(":ephemeral").and_then(|host| {
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        bracketed.unwrap_or(host).parse().ok()
    });
    let peers = [
        Some(Peer::Group(name.into())),
        address.map(|address| Peer::Network(address.into())),
        network.map(Peer::Network),
        service.map(Peer::Service),
        folded.map(Peer::Ephemeral),
        (name == Peer::Unknown.to_string()).then_some(Peer::Unknown),
        (name == Peer::OtherNamespace.to_string()).then_some(Peer::OtherNamespace),
    ];
    peers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_is_found_by_its_name() {
        for peer in [
            Peer::Group("plant north/1".into()),
            Peer::Group("192.0.2.1".into()),
            Peer::Network("192.0.2.1/32".parse().unwrap()),
            Peer::Network("192.0.2.0/24".parse().unwrap()),
            Peer::Network("2001:db8::/64".parse().unwrap()),
            Peer::Network("2001:db8::1/128".parse().unwrap()),
            Peer::Service("192.0.2.1:443".parse().unwrap()),
            Peer::Service("[2001:db8::1]:443".parse().unwrap()),
            Peer::Ephemeral("192.0.2.1".parse().unwrap()),
            Peer::Ephemeral("2001:db8::1".parse().unwrap()),
            Peer::Unknown,
            Peer::OtherNamespace,
        ] {
            let name = peer.to_string();
            assert!(peers_named(&name).contains(&peer), "{name}");
        }
    }
}
