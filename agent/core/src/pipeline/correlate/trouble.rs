//! What speaks for loss on a handshake's connection, and what TCP did to it otherwise. Plain numbers, summed by `history`.

/// Where in a connection's life something fell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// The SYN.
    Syn,
    /// The SYN-ACK.
    SynAck,
    /// The handshake's data.
    Handshake,
}

/// Whose segment was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// This host's.
    Sent,
    /// The peer's, which arrived again.
    Received,
}

impl Phase {
    /// Every phase, in the order of their index.
    pub const ALL: [Self; 3] = [Self::Syn, Self::SynAck, Self::Handshake];

    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::SynAck => "synack",
            Self::Handshake => "handshake",
        }
    }
}

impl Direction {
    /// Both directions, in the order of their index.
    pub const ALL: [Self; 2] = [Self::Sent, Self::Received];

    /// Label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// Retransmissions by phase and direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retransmits(pub [[u32; Direction::ALL.len()]; Phase::ALL.len()]);

impl Retransmits {
    /// One sum.
    #[must_use]
    pub const fn of(&self, phase: Phase, direction: Direction) -> u32 {
        self.0[phase as usize][direction as usize]
    }

    /// Adds one.
    pub const fn add(&mut self, phase: Phase, direction: Direction) {
        self.0[phase as usize][direction as usize] += 1;
    }

    /// Whether there was any.
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.iter().flatten().any(|count| *count > 0)
    }
}

/// All that is known of one handshake's connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Retransmissions of set-up and handshake.
    pub retransmits: Retransmits,
    /// Those of them that were counted before the handshake ended.
    pub counted: Retransmits,
    /// Segments that arrived from beyond data that had not arrived, or without acknowledging what was sent long before.
    pub missing: u32,
    /// Records that went on, and ClientHellos that came to a server that was ready, after at least one retransmission timeout of
    /// silence.
    pub stalls: u32,
    /// Resets received while it ran.
    pub resets_received: u32,
    /// Resets sent while it ran.
    pub resets_sent: u32,
    /// Smoothed round-trip time, microseconds; 0 where not known.
    pub rtt_us: u32,
}

impl Trouble {
    /// Whether packets were lost, as far as this end can tell.
    #[must_use]
    pub fn loss(&self) -> bool {
        self.retransmits.any() || self.missing > 0 || self.stalls > 0
    }
}
