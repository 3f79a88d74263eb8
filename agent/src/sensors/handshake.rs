//! The `handshake` sensor: uprobes on TLS libraries, by file, and the tracepoints that tell a handshake's socket.

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, PerCpuArray},
    programs::{
        UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope},
    },
};
use reprise_ebpf::{
    ABSENT, Header,
    handshake::{
        HANDSHAKE, HIT_UNKNOWN, HandshakeEvent, Layout, MAX_LIBRARIES, Open, OpenKey, cookie,
        outcome,
    },
};
use zerocopy::IntoBytes as _;

use super::{
    SensorError, attach_tracepoint, lost, now_ns, program, refused, ring::Ring, take_map,
    tracepoint::Tracepoint,
};
use crate::{
    plan::{Fields, Plan, ProbePoint},
    status::{Status, Verdict},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/handshake.bpf.o"));

const RECEIVE: Tracepoint = Tracepoint {
    event: "tcp/tcp_rcv_space_adjust",
    fields: &["skaddr", "sport", "dport", "saddr_v6", "daddr_v6"],
    vital: true,
};
const SET_STATE: Tracepoint = Tracepoint {
    event: "sock/inet_sock_set_state",
    fields: &[
        "skaddr", "newstate", "sport", "dport", "saddr_v6", "daddr_v6",
    ],
    vital: true,
};
/// 6.3 and later. Without it a handshake that never received anything has no known peer.
const SEND: Tracepoint = Tracepoint {
    event: "sock/sock_send_length",
    fields: &["sk"],
    vital: false,
};
const EXEC: Tracepoint = Tracepoint {
    event: "sched/sched_process_exec",
    fields: &["pid"],
    vital: true,
};
/// All that this sensor uses.
pub(super) const TRACEPOINTS: [Tracepoint; 4] = [RECEIVE, SET_STATE, SEND, EXEC];

/// Maps of structures, as the bytes that aya can copy without being told more.
type Bytes<T> = <T as AsArray>::Array;
trait AsArray {
    type Array;
}
impl AsArray for Layout {
    type Array = [u8; size_of::<Layout>()];
}
impl AsArray for OpenKey {
    type Array = [u8; size_of::<OpenKey>()];
}
impl AsArray for Open {
    type Array = [u8; size_of::<Open>()];
}

/// See the module.
pub struct HandshakeSensor {
    /// Its events.
    pub ring: Ring,
    lost: PerCpuArray<MapData, u64>,
    /// Part of [`Self::lost`] that is in the status already.
    pub(super) lost_before: u64,
    layouts: Array<MapData, Bytes<Layout>>,
    open: HashMap<MapData, Bytes<OpenKey>, Bytes<Open>>,
    libraries: u32,
    /// Holds programs and links; dropping it detaches.
    ebpf: Ebpf,
}

impl HandshakeSensor {
    pub(super) fn start(status: &mut Status) -> Result<Self, SensorError> {
        let receive = RECEIVE.layout()?;
        let state = SET_STATE.layout()?;
        let send = SEND.layout();
        let exec = EXEC.layout()?;
        let mut loader = EbpfLoader::new();
        if let Ok(send) = &send {
            loader.override_global("SEND", send.as_bytes(), true);
        }
        let mut ebpf = loader
            .override_global("RECEIVE", receive.as_bytes(), true)
            .override_global("SET_STATE", state.as_bytes(), true)
            .override_global("PROCESS_EXEC", exec.as_bytes(), true)
            .load(OBJECT)
            .map_err(|source| SensorError::Load(Box::new(source)))?;
        for probe in ["hs_exit", "hs_error", "hs_free", "hs_enter"] {
            program::<&mut UProbe>(&mut ebpf, probe)?
                .load()
                .map_err(|source| refused(probe, source))?;
        }
        for (probe, category, name) in [
            ("hs_state", "sock", "inet_sock_set_state"),
            ("hs_receive", "tcp", "tcp_rcv_space_adjust"),
            ("hs_exec", "sched", "sched_process_exec"),
        ] {
            attach_tracepoint(&mut ebpf, probe, category, name, status)?;
        }
        match send {
            Ok(_) => attach_tracepoint(&mut ebpf, "hs_send", "sock", "sock_send_length", status)?,
            Err(_) => status.probe("hs_send", Verdict::Unsupported),
        }
        Ok(Self {
            ring: Ring::new(take_map(&mut ebpf, "HS_EVENTS")?),
            lost: take_map(&mut ebpf, "HS_LOST")?,
            lost_before: 0,
            layouts: take_map(&mut ebpf, "HS_LAYOUTS")?,
            open: take_map(&mut ebpf, "HS_OPEN")?,
            libraries: 0,
            ebpf,
        })
    }

    /// Attaches one library by the open files that its plan was made from, so that no path can be swapped in between.
    ///
    /// # Errors
    ///
    /// [`SensorError`]; what had been attached of the library before is detached again.
    pub fn attach(
        &mut self,
        plan: &Plan,
        ssl: &File,
        crypto: Option<&File>,
        status: &mut Status,
    ) -> Result<u32, SensorError> {
        let library = self.libraries;
        if library >= MAX_LIBRARIES {
            return Err(SensorError::TooMany(library));
        }
        self.layouts
            .set(library, layout_bytes(&plan.fields), 0)
            .map_err(|source| SensorError::Map {
                map: "HS_LAYOUTS",
                source: Box::new(source),
            })?;
        let ssl = by_descriptor(ssl);
        let crypto = crypto.map(by_descriptor);
        // Ways out before ways in: no entry without its exit.
        let mut points: Vec<(&'static str, &Path, ProbePoint, u64)> = Vec::new();
        for exit in &plan.exits {
            points.push(("hs_exit", &ssl, *exit, cookie(library, exit.sp_delta)));
        }
        if let Some(error) = plan.error {
            let file = if error.in_crypto {
                crypto.as_deref()
            } else {
                Some(ssl.as_path())
            };
            if let Some(file) = file {
                points.push(("hs_error", file, error.point, u64::from(error.reason_arg)));
            }
        }
        if let Some(free) = plan.free {
            points.push(("hs_free", &ssl, free, cookie(library, 0)));
        }
        for entry in &plan.entries {
            points.push(("hs_enter", &ssl, *entry, cookie(library, 0)));
        }
        let mut links = Vec::new();
        for (probe, file, point, cookie) in points {
            let attach_point = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(point.offset),
                cookie: Some(cookie),
            };
            let attached = program::<&mut UProbe>(&mut self.ebpf, probe)?.attach(
                attach_point,
                file,
                UProbeScope::AllProcesses,
            );
            match attached {
                Ok(link) => {
                    status.probe(probe, Verdict::Attached);
                    links.push((probe, link));
                }
                Err(source) => {
                    status.probe(probe, Verdict::Broken);
                    for (probe, link) in links {
                        if let Err(error) =
                            program::<&mut UProbe>(&mut self.ebpf, probe)?.detach(link)
                        {
                            tracing::warn!(
                                probe,
                                reason = crate::chain(&error),
                                "probe not detached"
                            );
                        }
                    }
                    return Err(refused(probe, source));
                }
            }
        }
        self.libraries += 1;
        Ok(library)
    }

    /// The loaded object.
    pub(super) const fn object(&self) -> &Ebpf {
        &self.ebpf
    }

    /// Events that the programs could not send.
    #[must_use]
    pub fn lost(&self) -> u64 {
        lost(&self.lost)
    }

    /// Ends the open handshakes of processes that `lives` denies, handing over one event each; returns how many are open.
    pub fn sweep(
        &mut self,
        mut lives: impl FnMut(u32) -> bool,
        mut ended: impl FnMut(&HandshakeEvent),
    ) -> u64 {
        let mut count = 0;
        let mut dead = Vec::new();
        // Bounded: an LRU map that changes under the iteration may show a key twice.
        for key in self
            .open
            .keys()
            .filter_map(Result::ok)
            .take(2 * reprise_ebpf::handshake::MAX_OPEN as usize)
        {
            count += 1;
            let typed: OpenKey = zerocopy::transmute!(key);
            if !lives(typed.tgid) {
                dead.push(key);
            }
        }
        for key in dead {
            let Ok(open) = self.open.get(&key, 0) else {
                continue;
            };
            if self.open.remove(&key).is_ok() {
                count -= 1;
                let event = orphan(&zerocopy::transmute!(key), &zerocopy::transmute!(open));
                ended(&event);
            }
        }
        count
    }
}

/// The event of a handshake whose process ended.
fn orphan(key: &OpenKey, open: &Open) -> HandshakeEvent {
    HandshakeEvent {
        header: Header {
            kind: HANDSHAKE,
            size: size_of::<HandshakeEvent>() as u32,
            time_ns: now_ns(),
        },
        ssl: key.ssl,
        begin_ns: open.begin_ns,
        library_ns: open.library_ns,
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
    }
}

fn layout_bytes(fields: &Fields) -> Bytes<Layout> {
    let at = |offset: Option<u32>| offset.unwrap_or(ABSENT);
    zerocopy::transmute!(Layout {
        state: at(fields.state),
        hand_state: at(fields.hand_state),
        in_init: at(fields.in_init),
        server: at(fields.server),
        version: at(fields.version),
        hit: at(fields.hit),
        rbio: at(fields.rbio),
        wbio: at(fields.wbio),
        rwstate: at(fields.rwstate),
        client_random: at(fields.client_random),
        bio_flags: at(fields.bio_flags),
        reserved: 0,
    })
}

fn by_descriptor(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
