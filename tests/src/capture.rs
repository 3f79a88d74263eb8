//! A packet capture at both ends of a lossy link, with received and dropped packets.

use std::collections::BTreeMap;
use std::process::Command;

use crate::namespaces::Namespaces;
use crate::process::{PYTHON, Process, fixture};

/// Log statement of a dropping rule, which marks the packet as lost in the capture.
pub const LOG_LOST: &str = "log prefix \"lost\" group 1";
/// Log statement for packets that pass.
pub const LOG_PASSED: &str = "log prefix \"came\" group 1";

/// `TCPHDR_FIN` etc., include/net/tcp.h.
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// One packet of a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packet {
    /// Time, seconds.
    pub at: f64,
    /// Whether it was dropped.
    pub lost: bool,
    /// Whether it was sent to the server.
    pub to_server: bool,
    /// Flags of the TCP header.
    pub flags: u8,
    /// Length of the data, bytes.
    pub length: u32,
    /// Sequence number.
    pub seq: u32,
}

impl Packet {
    /// Whether it opens the connection.
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.flags & SYN != 0
    }

    /// Whether TCP retransmits it when it is lost and the handshake needs it.
    #[must_use]
    pub const fn is_retransmitted(&self) -> bool {
        self.is_syn() || self.length > 0
    }

    /// Returns a short text: direction, flags, length, time and whether it was lost.
    fn brief(&self, began: f64) -> String {
        let way = if self.to_server { ">" } else { "<" };
        let bits = [(SYN, "S"), (FIN, "F"), (RST, "R")];
        let bits = bits.into_iter().filter(|(bit, _)| self.flags & bit != 0);
        let flags: String = bits.map(|(_, name)| name).collect();
        let lost = if self.lost { "!" } else { "" };
        let ms = (self.at - began) * 1_000.0;
        format!("{way}{flags}{}@{ms:.0}{lost}", self.length)
    }
}

/// Returns the packets of one connection as text.
#[must_use]
pub fn describe(packets: &[Packet]) -> String {
    let began = packets.first().map_or(0.0, |packet| packet.at);
    let words: Vec<_> = packets.iter().map(|packet| packet.brief(began)).collect();
    words.join(" ")
}

/// Time that the agent waits after a handshake for evidence of loss, seconds.
const EVIDENCE_WAIT: f64 = 1.0;
/// A packet this long after another one was not sent before the other one arrived, seconds.
const MIN_DELAY: f64 = 0.02;

/// Whether one end can observe that a packet of the handshake was lost: it retransmits its own
/// packet, or the peer answers without having received it; or a lost packet of the peer is followed
/// by another one. A server cannot observe a SYN that was lost before the first one that arrived,
/// nor the loss of everything that a peer sent last.
#[must_use]
pub fn is_loss_visible(packets: &[Packet], at_server: bool) -> bool {
    let own = |packet: &&Packet| packet.to_server != at_server;
    let here = |packet: &&Packet| own(packet) || !packet.lost;
    let ends = |packet: &&Packet| packet.flags & (FIN | RST) != 0;
    let end = packets.iter().filter(here).find(ends);
    let until = end.map_or(f64::MAX, |end| end.at + EVIDENCE_WAIT);
    let seen = || packets.iter().filter(here).filter(|one| one.at <= until);
    let lost = packets
        .iter()
        .filter(|one| one.lost && one.is_retransmitted());
    let again = |lost: &Packet, one: &Packet| {
        own(&one) == own(&lost) && one.at > lost.at && one.seq == lost.seq && one.is_retransmitted()
    };
    let mut lost = lost.filter(|one| one.at <= until);
    lost.any(|lost| match (own(&lost), lost.is_syn()) {
        (true, _) => {
            seen().any(|one| again(lost, one) || (!own(&one) && one.at >= lost.at + MIN_DELAY))
        }
        // The client retransmits its SYN, too.
        (false, true) => [true, false].iter().any(|ours| {
            seen()
                .filter(|one| one.is_syn() && own(one) == *ours)
                .count()
                > 1
        }),
        (false, false) => seen().any(|one| !own(&one) && one.at > lost.at),
    })
}

/// Running captures; stopped when dropped.
#[derive(Debug)]
pub struct Capture {
    at_server: Process,
    at_client: Process,
}

impl Capture {
    /// Starts a capture of the packets that the rules of both namespaces log.
    ///
    /// # Panics
    /// If the capture cannot be started.
    #[must_use]
    pub fn start(net: &Namespaces) -> Self {
        let [at_server, at_client] = [&net.server, &net.client].map(|name| {
            let words = Namespaces::exec(name);
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).arg(PYTHON);
            let process = Process::spawn(command.arg(fixture("capture.py")));
            process.wait_stdout("ready\n");
            process
        });
        Self {
            at_server,
            at_client,
        }
    }

    /// Returns the packets by the client's address, in order.
    ///
    /// # Panics
    /// If a capture is malformed or has ended.
    #[must_use]
    pub fn connections(&mut self) -> BTreeMap<String, Vec<Packet>> {
        let mut all: BTreeMap<String, Vec<Packet>> = BTreeMap::new();
        for (process, to_server) in [(&mut self.at_server, true), (&mut self.at_client, false)] {
            assert!(process.exit_status().is_none(), "{}", process.stderr());
            let text = process.stdout();
            // The last line may be incomplete.
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            for line in whole.lines().skip(1) {
                let (client, packet) = parse(line, to_server)
                    .unwrap_or_else(|| panic!("malformed in the capture: {line:?}"));
                all.entry(client).or_default().push(packet);
            }
        }
        for packets in all.values_mut() {
            packets.sort_by(|one, other| one.at.total_cmp(&other.at));
        }
        all
    }
}

fn parse(line: &str, to_server: bool) -> Option<(String, Packet)> {
    let words: Vec<_> = line.split(' ').collect();
    let [prefix, at, source, destination, flags, length, seq] = words[..] else {
        return None;
    };
    let client = if to_server { source } else { destination };
    let packet = Packet {
        at: at.parse().ok()?,
        lost: prefix == "lost",
        to_server,
        flags: flags.parse().ok()?,
        length: length.parse().ok()?,
        seq: seq.parse().ok()?,
    };
    Some((client.to_owned(), packet))
}
