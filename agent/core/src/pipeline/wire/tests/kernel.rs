//! A model of the packet programs that cuts the fixtures into segments.

use reprise_ebpf::{
    Header, Socket,
    wire::{SEGMENT, Segment, direction, what},
};
use zerocopy::IntoBytes as _;

/// A segment and its bytes.
pub(super) type Sent = (Segment, Vec<u8>);

/// A stream of `fixtures/`.
pub(super) fn fixture(name: &str, side: &str) -> Vec<u8> {
    let path = format!(
        "{}/src/pipeline/wire/fixtures/{name}.{side}",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The event's bytes, as in the ring buffer.
pub(super) fn bytes(segment: &Segment, bytes: &[u8]) -> Vec<u8> {
    [segment.as_bytes(), bytes].concat()
}

/// Both streams of a connection: the ClientHello, the server's stream, the rest of the client's.
/// `client_way` is the direction of the client's bytes; segments have `sizes` in turn.
pub(super) fn handshake(name: &str, client_way: u8, sizes: &[usize]) -> Vec<Sent> {
    let server_way = direction::IN + direction::OUT - client_way;
    let (mut client, mut server) = (Vec::new(), Vec::new());
    cut(
        &fixture(name, "client"),
        u32::MAX - 100,
        client_way,
        sizes,
        &mut client,
    );
    cut(&fixture(name, "server"), 7, server_way, sizes, &mut server);
    let rest = client
        .iter()
        .position(|(segment, _)| segment.what != what::HANDSHAKE);
    let rest = client.split_off(rest.unwrap_or(client.len()));
    [client, server, rest].concat()
}

/// Cuts one direction, whose first byte has sequence number `seq`, into segments.
pub(super) fn cut(stream: &[u8], seq: u32, way: u8, sizes: &[usize], sent: &mut Vec<Sent>) {
    let mut sizes = sizes.iter().copied().chain([2_048]).cycle();
    let (mut at, mut ciphered) = (0, false);
    while let Some([kind, 3, _, high, low]) = stream.get(at..at + 5) {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let body = &stream[at + 5..stream.len().min(at + 5 + length)];
        // A second hello may follow a compatibility ChangeCipherSpec (RFC 8446, appendix D.4).
        let hello = matches!(body, [1 | 2, 0, ..]);
        if *kind == what::HANDSHAKE && (!ciphered || hello) || *kind == what::ALERT && !ciphered {
            let mut from = 0;
            while from < body.len() {
                let to = body.len().min(from + sizes.next().unwrap_or(usize::MAX));
                let left = (length - from) as u16;
                let place = seq.wrapping_add((at + 5 + from) as u32);
                sent.push((
                    segment(*kind, place, left, to - from, way),
                    body[from..to].to_vec(),
                ));
                from = to;
            }
        } else {
            let place = seq.wrapping_add(at as u32);
            sent.push((segment(*kind, place, length as u16, 0, way), Vec::new()));
            if ciphered && *kind != what::CHANGE_CIPHER_SPEC {
                return;
            }
            ciphered = true;
        }
        at += 5 + length;
    }
}

fn segment(what: u8, seq: u32, record: u16, length: usize, way: u8) -> Segment {
    Segment {
        header: Header {
            kind: SEGMENT,
            size: (size_of::<Segment>() + length) as u32,
            time_ns: 1_000,
        },
        socket: Socket {
            local_port: 443,
            remote_port: 50_000,
            cookie: 77,
            ..Socket::default()
        },
        seq,
        length: length as u32,
        what,
        direction: way,
        record,
        repeats: 0,
        rtt_us: 0,
        age_ms: 0,
        cgroup: 0,
        skipped: 0,
        reserved: 0,
    }
}
