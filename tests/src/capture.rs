//! A packet capture at both ends of a lossy link: what arrived, and what the dropping rules took
//! away.

use std::collections::BTreeMap;
use std::process::Command;

use crate::namespaces::Namespaces;
use crate::process::{PYTHON, Process, fixture};

/// What a rule says before its verdict, so that the capture shows it as lost.
pub const LOG_LOST: &str = "log prefix \"lost\" group 1";
/// The same for what gets through.
pub const LOG_CAME: &str = "log prefix \"came\" group 1";

/// `TCPHDR_FIN` and so on.
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// One packet of a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packet {
    /// When, seconds.
    pub at: f64,
    /// It did not arrive.
    pub lost: bool,
    /// It went to the server.
    pub to_server: bool,
    /// Flags of its TCP header.
    pub flags: u8,
    /// Bytes of data.
    pub length: u32,
    /// Sequence number.
    pub seq: u32,
}

impl Packet {
    /// It opens the connection.
    #[must_use]
    pub const fn syn(&self) -> bool {
        self.flags & SYN != 0
    }

    /// TCP sends it again when it is lost, and it belongs to what a handshake needs.
    #[must_use]
    pub const fn matters(&self) -> bool {
        self.syn() || self.length > 0
    }

    /// In a few characters: where to, what, and whether it arrived.
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

/// The packets of one connection in words.
#[must_use]
pub fn story(packets: &[Packet]) -> String {
    let began = packets.first().map_or(0.0, |packet| packet.at);
    let words: Vec<_> = packets.iter().map(|packet| packet.brief(began)).collect();
    words.join(" ")
}

/// How long the agent waits after a handshake for a sign of loss, seconds.
const DOUBT: f64 = 1.0;
/// A packet that comes so long after another was sent did not cross it on the way, seconds.
const CROSSED: f64 = 0.02;

/// Whether one end can know in any way that a packet which matters was lost, of those that passed
/// its own socket or arrived at it: one of its own is sent again, or the peer speaks without having
/// got it; one of the peer's is followed by another. A SYN that is lost ahead of the first that
/// arrives shows nowhere at the server, nor does the silence of a peer of which nothing comes any
/// more.
#[must_use]
pub fn shows(packets: &[Packet], at_server: bool) -> bool {
    let own = |packet: &&Packet| packet.to_server != at_server;
    let here = |packet: &&Packet| own(packet) || !packet.lost;
    let ends = |packet: &&Packet| packet.flags & (FIN | RST) != 0;
    let end = packets.iter().filter(here).find(ends);
    let until = end.map_or(f64::MAX, |end| end.at + DOUBT);
    let seen = || packets.iter().filter(here).filter(|one| one.at <= until);
    let lost = packets.iter().filter(|one| one.lost && one.matters());
    let again = |lost: &Packet, one: &Packet| {
        own(&one) == own(&lost) && one.at > lost.at && one.seq == lost.seq && one.matters()
    };
    let mut lost = lost.filter(|one| one.at <= until);
    lost.any(|lost| match (own(&lost), lost.syn()) {
        (true, _) => {
            seen().any(|one| again(lost, one) || (!own(&one) && one.at >= lost.at + CROSSED))
        }
        // The client sends its SYN again, too.
        (false, true) => [true, false]
            .iter()
            .any(|ours| seen().filter(|one| one.syn() && own(one) == *ours).count() > 1),
        (false, false) => seen().any(|one| !own(&one) && one.at > lost.at),
    })
}

/// The captures; they end when it is dropped.
#[derive(Debug)]
pub struct Capture {
    at_server: Process,
    at_client: Process,
}

impl Capture {
    /// Captures what the rules of both namespaces log.
    ///
    /// # Panics
    /// When the host refuses.
    #[must_use]
    pub fn of(net: &Namespaces) -> Self {
        let [at_server, at_client] = [&net.server, &net.client].map(|name| {
            let words = Namespaces::exec(name);
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).arg(PYTHON);
            let process = Process::spawn(command.arg(fixture("capture.py")));
            process.wait_says("ready\n");
            process
        });
        Self {
            at_server,
            at_client,
        }
    }

    /// The packets by the client's address, in order.
    ///
    /// # Panics
    /// When a capture is malformed, or has ended.
    #[must_use]
    pub fn connections(&mut self) -> BTreeMap<String, Vec<Packet>> {
        let mut all: BTreeMap<String, Vec<Packet>> = BTreeMap::new();
        for (process, to_server) in [(&mut self.at_server, true), (&mut self.at_client, false)] {
            assert!(process.ended().is_none(), "{}", process.stderr());
            let text = process.stdout();
            // The last line may be half there.
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
