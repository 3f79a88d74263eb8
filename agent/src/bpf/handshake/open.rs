//! The map of open handshakes, and the removal of those whose process has died.

use aya::maps::{HashMap, MapData};
use reprise_ebpf::{
    Header,
    handshake::{
        HANDSHAKE, HIT_UNKNOWN, HandshakeEvent, MAX_OPEN, Open, OpenKey, SessionAge, SessionId,
        outcome,
    },
};

use crate::bpf::clock::now_ns;

type OpenKeyBytes = [u8; size_of::<OpenKey>()];
type OpenBytes = [u8; size_of::<Open>()];
type OpenMap = HashMap<MapData, OpenKeyBytes, OpenBytes>;

/// Handshakes that began and have not ended.
pub(super) struct OpenHandshakes(OpenMap);

impl OpenHandshakes {
    pub(super) const fn new(map: OpenMap) -> Self {
        Self(map)
    }

    /// Removes the handshakes of dead processes and passes one event for each to `ended`; returns
    /// the number of handshakes that remain.
    pub(super) fn sweep(
        &mut self,
        mut is_alive: impl FnMut(u32) -> bool,
        mut ended: impl FnMut(&HandshakeEvent),
    ) -> u64 {
        let mut count = 0;
        let mut dead = Vec::new();
        // The iteration is bounded because an LRU map that changes meanwhile can repeat keys.
        let keys = self.0.keys().filter_map(Result::ok);
        for key in keys.take(2 * MAX_OPEN as usize) {
            count += 1;
            let typed: OpenKey = zerocopy::transmute!(key);
            if !is_alive(typed.tgid) {
                dead.push(key);
            }
        }
        for key in dead {
            let Ok(open) = self.0.get(&key, 0) else {
                continue;
            };
            if self.0.remove(&key).is_ok() {
                count -= 1;
                let event = process_ended(&zerocopy::transmute!(key), &zerocopy::transmute!(open));
                ended(&event);
            }
        }
        count
    }
}

/// The event of a handshake whose process ended.
fn process_ended(key: &OpenKey, open: &Open) -> HandshakeEvent {
    HandshakeEvent {
        header: Header {
            kind: HANDSHAKE,
            size: size_of::<HandshakeEvent>() as u32,
            time_ns: now_ns(),
        },
        ssl: key.ssl,
        begin_ns: open.begin_ns,
        library_ns: open.library_ns,
        heard_ns: open.heard_ns,
        tgid: key.tgid,
        tid: key.tgid,
        library: open.library,
        drives: open.drives,
        reason: open.reason,
        version: 0,
        outcome: outcome::PROCESS_ENDED,
        role: open.role as u8,
        hit: HIT_UNKNOWN,
        socket_source: open.socket_source as u8,
        flags: open.flags,
        comm: [0; 16],
        client_random: [0; 32],
        socket: open.socket,
        session: SessionAge::default(),
        session_id: SessionId::default(),
        rejected: open.rejected,
        rejected_ns: open.rejected_ns,
    }
}
