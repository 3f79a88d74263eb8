//! Layout of tracepoint records, parsed from their `format` files: it changed five times between
//! 5.4 and 6.18.

use reprise_ebpf::{ABSENT, TracepointLayout};

use super::error::SensorError;
use crate::host::tracefs;

/// Size of `saddr`/`daddr` where they are whole `struct sockaddr_in6`s (`tcp_send_reset` since
/// 6.10).
const SOCKADDR_SIZE: u32 = 28;

/// Size of `protocol` since 5.6; it has one byte before.
const PROTOCOL_SIZE: u32 = 2;

/// A tracepoint that a sensor uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tracepoint {
    /// `category/name`.
    pub event: &'static str,
    /// Required fields.
    pub fields: &'static [&'static str],
    /// Whether the sensor requires it.
    pub vital: bool,
}

impl Tracepoint {
    /// Reads its layout and checks that it has the required fields.
    ///
    /// # Errors
    ///
    /// [`SensorError::Format`] and [`SensorError::Field`].
    pub(crate) fn layout(&self) -> Result<TracepointLayout, SensorError> {
        let event = self.event;
        let text =
            tracefs::format(event).map_err(|source| SensorError::Format { event, source })?;
        let fields = Fields::parse(&text);
        match self
            .fields
            .iter()
            .find(|field| fields.find(field).is_none())
        {
            Some(field) => Err(SensorError::Field { event, field }),
            None => Ok(fields.layout()),
        }
    }
}

struct Fields(Vec<(String, u32, u32)>);

impl Fields {
    /// Lines of the form `field:TYPE NAME[N]; offset:O; size:S; signed:B;`, separated by tabs.
    fn parse(text: &str) -> Self {
        let field = |line: &str| {
            let mut parts = line.trim().strip_prefix("field:")?.split(';');
            let declaration = parts.next()?;
            let mut number =
                |key: &str| -> Option<u32> { parts.next()?.trim().strip_prefix(key)?.parse().ok() };
            let (offset, size) = (number("offset:")?, number("size:")?);
            // The array's length may hold spaces: `saddr[sizeof(struct sockaddr_in6)]`.
            let name = declaration.split('[').next()?.rsplit([' ', '*']).next()?;
            Some((name.to_owned(), offset, size))
        };
        Self(text.lines().filter_map(field).collect())
    }

    fn find(&self, name: &str) -> Option<(u32, u32)> {
        self.0
            .iter()
            .find(|field| field.0 == name)
            .map(|field| (field.1, field.2))
    }

    fn layout(&self) -> TracepointLayout {
        let at = |name| self.find(name).map_or(ABSENT, |(offset, _)| offset);
        let sockaddr = self
            .find("saddr")
            .is_some_and(|(_, size)| size == SOCKADDR_SIZE);
        let address = |plain, v6| if sockaddr { at(plain) } else { at(v6) };
        let either = |first, second| match at(first) {
            ABSENT => at(second),
            found => found,
        };
        TracepointLayout {
            skaddr: either("skaddr", "sk"),
            state: either("newstate", "state"),
            old_state: at("oldstate"),
            protocol: self
                .find("protocol")
                .filter(|(_, size)| *size == PROTOCOL_SIZE)
                .map_or(ABSENT, |(offset, _)| offset),
            sport: at("sport"),
            dport: at("dport"),
            saddr: address("saddr", "saddr_v6"),
            daddr: address("daddr", "daddr_v6"),
            cookie: at("sock_cookie"),
            err: at("err"),
            sockaddr: u32::from(sockaddr),
            pid: at("pid"),
            group_dead: at("group_dead"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output of 6.18.
    const RETRANSMIT_6_18: &str = "name: tcp_retransmit_skb
ID: 1
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:const void * skbaddr;\toffset:8;\tsize:8;\tsigned:0;
\tfield:const void * skaddr;\toffset:16;\tsize:8;\tsigned:0;
\tfield:int state;\toffset:24;\tsize:4;\tsigned:1;
\tfield:__u16 sport;\toffset:28;\tsize:2;\tsigned:0;
\tfield:__u16 dport;\toffset:30;\tsize:2;\tsigned:0;
\tfield:__u16 family;\toffset:32;\tsize:2;\tsigned:0;
\tfield:__u8 saddr[4];\toffset:34;\tsize:4;\tsigned:0;
\tfield:__u8 daddr[4];\toffset:38;\tsize:4;\tsigned:0;
\tfield:__u8 saddr_v6[16];\toffset:42;\tsize:16;\tsigned:0;
\tfield:__u8 daddr_v6[16];\toffset:58;\tsize:16;\tsigned:0;
\tfield:int err;\toffset:76;\tsize:4;\tsigned:1;

print fmt: \"x\", REC->skbaddr
";

    /// Output of 6.12 and later: addresses are whole sockaddrs.
    const SEND_RESET_6_12: &str = "\tfield:const void * skaddr;\toffset:16;\tsize:8;\tsigned:0;
\tfield:int state;\toffset:24;\tsize:4;\tsigned:1;
\tfield:enum sk_rst_reason reason;\toffset:28;\tsize:4;\tsigned:0;
\tfield:__u8 saddr[sizeof(struct sockaddr_in6)];\toffset:32;\tsize:28;\tsigned:0;
\tfield:__u8 daddr[sizeof(struct sockaddr_in6)];\toffset:60;\tsize:28;\tsigned:0;
";

    #[test]
    fn reads_the_address_pair_that_holds_both_families() {
        let layout = Fields::parse(RETRANSMIT_6_18).layout();
        assert_eq!((layout.skaddr, layout.state), (16, 24));
        assert_eq!((layout.sport, layout.dport), (28, 30));
        assert_eq!((layout.saddr, layout.daddr), (42, 58));
        assert_eq!(
            (layout.err, layout.cookie, layout.sockaddr),
            (76, ABSENT, 0)
        );
    }

    #[test]
    fn recognises_sockaddr_fields() {
        let layout = Fields::parse(SEND_RESET_6_12).layout();
        assert_eq!((layout.saddr, layout.daddr, layout.sockaddr), (32, 60, 1));
        assert_eq!(layout.sport, ABSENT);
    }

    #[test]
    fn newstate_is_preferred_to_state_and_malformed_lines_are_ignored() {
        let text = "field:int oldstate;\toffset:16;\tsize:4;\tsigned:1;\nfield:int newstate;\toffset:20;\tsize:4;\nfield:;x\nfield";
        let layout = Fields::parse(text).layout();
        assert_eq!(layout.state, 20);
    }
}
