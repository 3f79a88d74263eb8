//! Headers of the PROXY protocol, versions 1 and 2
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>): the client's address. The text
//! comes from whoever connects: nothing in it is trusted here.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str,
};

/// First bytes of a version 2 header.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY; LOCAL is 0x20 and has no client.
const PROXY: u8 = 0x21;
/// TCP over IPv4 and IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The client's address in a header; `None` where the header names none, or is malformed.
pub(super) fn client(header: &[u8]) -> Option<SocketAddr> {
    match header.strip_prefix(SIGNATURE) {
        Some(rest) => binary(rest),
        None => text(header),
    }
}

fn binary(header: &[u8]) -> Option<SocketAddr> {
    let [PROXY, family, _, _, addresses @ ..] = header else {
        return None;
    };
    // Source, destination, source port, destination port.
    let (address, port): (IpAddr, &[u8]) = match *family {
        TCP4 => {
            let source: [u8; 4] = addresses.first_chunk().copied()?;
            (Ipv4Addr::from(source).into(), addresses.get(8..10)?)
        }
        TCP6 => {
            let source: [u8; 16] = addresses.first_chunk().copied()?;
            (
                Ipv6Addr::from(source).to_canonical(),
                addresses.get(32..34)?,
            )
        }
        _ => return None,
    };
    let port = u16::from_be_bytes(port.try_into().ok()?);
    Some(SocketAddr::new(address, port))
}

fn text(header: &[u8]) -> Option<SocketAddr> {
    let line = str::from_utf8(header).ok()?.strip_suffix("\r\n")?;
    let mut words = line.split(' ');
    let (name, family) = (words.next()?, words.next()?);
    let (source, _destination) = (words.next()?, words.next()?);
    let (port, _destination_port) = (words.next()?, words.next()?);
    let address: IpAddr = match family {
        "TCP4" => source.parse::<Ipv4Addr>().ok()?.into(),
        "TCP6" => source.parse::<Ipv6Addr>().ok()?.to_canonical(),
        _ => return None,
    };
    let is_whole = name == "PROXY" && words.next().is_none();
    is_whole.then_some(SocketAddr::new(address, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family, 0, addresses.len() as u8]);
        header.extend(addresses);
        header
    }

    #[test]
    fn both_versions_name_the_client() {
        let named = |header: &[u8]| client(header).map(|client| client.to_string());
        let four = [192, 0, 2, 7, 192, 0, 2, 1, 0x0f, 0xa0, 0x01, 0xbb];
        let mut six = [0; 36];
        (six[0], six[15], six[33]) = (0xfd, 9, 80);
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 443\r\n".to_vec(),
                Some("192.0.2.7:4000"),
            ),
            (
                b"PROXY TCP6 fd00::9 fd00::1 80 443\r\n".to_vec(),
                Some("[fd00::9]:80"),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.7 ::1 80 443\r\n".to_vec(),
                Some("192.0.2.7:80"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (
                b"PROXY UNKNOWN 192.0.2.7 192.0.2.1 4000 443\r\n".to_vec(),
                None,
            ),
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 443".to_vec(), None),
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 4000\r\n".to_vec(), None),
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 443 9\r\n".to_vec(),
                None,
            ),
            (b"PROXY TCP4 fd00::9 fd00::1 80 443\r\n".to_vec(), None),
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 70000 443\r\n".to_vec(),
                None,
            ),
            (b"PROXYTCP4 192.0.2.7 192.0.2.1 4000 443\r\n".to_vec(), None),
            (version_2(PROXY, TCP4, &four), Some("192.0.2.7:4000")),
            (version_2(PROXY, TCP6, &six), Some("[fd00::9]:80")),
            (version_2(PROXY, TCP4, &four[..9]), None),
            (version_2(0x20, TCP4, &four), None),
            (version_2(PROXY, 0x12, &four), None),
            (version_2(PROXY, 0x31, &[0; 216]), None),
            (SIGNATURE.to_vec(), None),
            (Vec::new(), None),
        ] {
            assert_eq!(
                named(&header).as_deref(),
                expected,
                "{}",
                header.escape_ascii()
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = client(&bytes);
            let _ = client(&[SIGNATURE, &bytes].concat());
        }
    }
}
