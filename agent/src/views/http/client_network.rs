//! The network of a client, to which bounds per client apply.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of an IPv6 address that identify the network of one host.
const PREFIX_V6: u32 = 64;

/// The network of a client: its IPv4 address, or the /64 of its IPv6 address. All loopback
/// addresses are one network, because every local user has all of them.
pub(super) fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address if address.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << (128 - PREFIX_V6));
            Ipv6Addr::from_bits(network).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_host_are_one_network() {
        let network = |address: &str| client_network(address.parse().unwrap());
        for local in ["127.0.0.1", "127.200.3.4", "::1", "::ffff:127.0.0.9"] {
            assert_eq!(network(local), network("127.0.0.1"), "{local}");
        }
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
