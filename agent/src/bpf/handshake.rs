//! The `handshake` sensor: uprobes on TLS libraries, by file, and the tracepoints that tell a handshake's socket.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    mem, ptr,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
};
use reprise_ebpf::{
    ABSENT, Header, TracepointLayout,
    handshake::{
        ErrorCookie, Field, HANDSHAKE, HIT_UNKNOWN, HandshakeEvent, Layout, MAX_LIBRARIES, Open,
        OpenKey, SessionAge, SessionFields, SessionId, cookie, family, hook, outcome,
    },
};
use zerocopy::IntoBytes as _;

use super::{
    SensorError, attach_raw, attach_tracepoint,
    feed::{Feed, Maps},
    means::{Library, Means},
    multi::Account,
    now_ns,
    object::{Object, loader, object},
    probes::{self, Link, Probes},
    take_map,
    told::Told,
    tracepoint::Tracepoint,
};
use crate::status::{Status, Verdict};
use reprise_core::plan::{self, ErrorProbe, Hook, Plan, ProbePoint};

/// `SSL_X509_LOOKUP` to `SSL_RETRY_VERIFY` (include/openssl/ssl.h.in): the program must act before the handshake goes on.
const OPENSSL_WANTS: u32 = 0b1_1111 << 4;
/// The like in BoringSSL, whose `rwstate` holds values of `SSL_get_error` (include/openssl/ssl.h there): 4 `WANT_X509_LOOKUP`, 7 to 9,
/// 11 `PENDING_SESSION` to 20 `HANDSHAKE_HINTS_READY`.
const BORINGSSL_WANTS: u32 = 1 << 4 | 0b111 << 7 | 0x3ff << 11;

static OBJECT: Object = object!("handshake");
/// The programs that are placed into libraries.
const PROBES: [&str; 6] = [
    "hs_exit",
    "hs_error",
    "hs_free",
    "hs_found",
    "hs_forget",
    "hs_enter",
];
const MAPS: Maps = Maps {
    events: "HS_EVENTS",
    lost: "HS_LOST",
    budget: 16 << 20,
};

const RECEIVE: Tracepoint = Tracepoint {
    event: "tcp/tcp_rcv_space_adjust",
    fields: &["skaddr", "sport", "dport", "saddr_v6", "daddr_v6"],
    vital: true,
};
/// 6.3 and later: each receive and send as a call, of which those in vain count too. Without them a handshake that never received
/// anything has no known peer.
const CALLS: [(&str, Tracepoint); 2] = [
    (
        "hs_recv_call",
        Tracepoint {
            event: "sock/sock_recv_length",
            fields: &["sk", "ret"],
            vital: false,
        },
    ),
    (
        "hs_send_call",
        Tracepoint {
            event: "sock/sock_send_length",
            fields: &["sk", "ret"],
            vital: false,
        },
    ),
];
const SET_STATE: Tracepoint = Tracepoint {
    event: "sock/inet_sock_set_state",
    fields: &[
        "skaddr", "newstate", "sport", "dport", "saddr_v6", "daddr_v6",
    ],
    vital: true,
};
const EXEC: Tracepoint = Tracepoint {
    event: "sched/sched_process_exec",
    fields: &["pid"],
    vital: true,
};
/// All that this sensor uses.
pub(super) const TRACEPOINTS: [Tracepoint; 5] = [RECEIVE, SET_STATE, EXEC, CALLS[0].1, CALLS[1].1];

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

/// Probes of one library.
struct Attached {
    place: u32,
    links: Vec<Link>,
}

/// See the module.
pub struct HandshakeSensor {
    /// What it hands on.
    pub feed: Feed,
    layouts: Array<MapData, Bytes<Layout>>,
    open: HashMap<MapData, Bytes<OpenKey>, Bytes<Open>>,
    /// Attached libraries by key: places in [`Self::layouts`] and links.
    libraries: BTreeMap<u64, Attached>,
    /// Places in [`Self::layouts`] that are free, longest first: what is open of an earlier library ends before its place has
    /// another.
    free: VecDeque<u32>,
    probes: Probes,
    /// Holds programs and links; dropping it detaches.
    ebpf: Ebpf,
}

impl HandshakeSensor {
    pub(super) fn start(means: Means, status: &mut Status) -> Result<Self, SensorError> {
        let state = SET_STATE.layout()?;
        let by_calls = CALLS.iter().all(|(_, call)| call.layout().is_ok());
        let receive = match by_calls {
            true => TracepointLayout::EMPTY,
            false => RECEIVE.layout()?,
        };
        let exec = EXEC.layout()?;
        let has_cookies = u32::from(means.library != Library::Copies);
        let mut loader = loader();
        Told::prepare(&mut loader, means);
        let mut ebpf = loader
            .override_global("RECEIVE", receive.as_bytes(), true)
            .override_global("SET_STATE", state.as_bytes(), true)
            .override_global("PROCESS_EXEC", exec.as_bytes(), true)
            .override_global("BY_CALLS", &u32::from(by_calls), true)
            .override_global("HAS_COOKIES", &has_cookies, means.ring)
            .load(OBJECT.fit(means))
            .map_err(|source| SensorError::Load(Box::new(source)))?;
        let probes = Probes::load(OBJECT.fit(means), means, &mut ebpf, &PROBES)?;
        let feed = Feed::open(&mut ebpf, means, &MAPS)?;
        attach_tracepoint(&mut ebpf, "hs_state", SET_STATE.event, status)?;
        attach_tracepoint(&mut ebpf, "hs_exec", EXEC.event, status)?;
        if by_calls {
            for (probe, call) in CALLS {
                attach_raw(&mut ebpf, probe, call.event, status)?;
            }
            status.probe("hs_receive", Verdict::NotApplicable);
        } else {
            attach_tracepoint(&mut ebpf, "hs_receive", RECEIVE.event, status)?;
            for (probe, _) in CALLS {
                status.probe(probe, Verdict::Unsupported);
            }
        }
        Ok(Self {
            feed,
            layouts: take_map(&mut ebpf, "HS_LAYOUTS")?,
            open: take_map(&mut ebpf, "HS_OPEN")?,
            libraries: BTreeMap::new(),
            free: (0..MAX_LIBRARIES).collect(),
            probes,
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
        key: u64,
        plan: &Plan,
        ssl: &File,
        crypto: Option<&File>,
        status: &mut Status,
    ) -> Result<(), SensorError> {
        let place = *self
            .free
            .front()
            .ok_or(SensorError::TooMany(MAX_LIBRARIES))?;
        self.layouts
            .set(place, layout_bytes(plan), 0)
            .map_err(|source| SensorError::Map {
                map: "HS_LAYOUTS",
                source: Box::new(source),
            })?;
        let mut links: Vec<Link> = Vec::new();
        let mut placing = self.probes.library(&mut self.ebpf);
        let points = points(place, plan, ssl, crypto);
        for group in points.chunk_by(|a, b| a.0 == b.0 && ptr::eq(a.1, b.1)) {
            let Some((probe, file, ..)) = group.first() else {
                continue;
            };
            let points: Vec<_> = group
                .iter()
                .map(|(.., point, cookie)| (point.offset, *cookie))
                .collect();
            match placing.attach(probe, file, &points) {
                Ok(link) => {
                    points
                        .iter()
                        .for_each(|_| status.probe(probe, Verdict::Attached));
                    links.push(link);
                }
                Err(error) => {
                    status.probe(probe, Verdict::Broken);
                    let_go(links, status);
                    return Err(error);
                }
            }
        }
        self.free.pop_front();
        self.libraries.insert(key, Attached { place, links });
        Ok(())
    }

    /// Detaches a library; nothing where it is not attached.
    pub fn detach(&mut self, key: u64, status: &mut Status) {
        if let Some(Attached { place, links }) = self.libraries.remove(&key) {
            let_go(links, status);
            self.free.push_back(place);
        }
    }

    /// The loaded object.
    pub(super) const fn object(&self) -> &Ebpf {
        &self.ebpf
    }

    /// What the kernel has accounted of programs that are not in [`Self::object`].
    pub(super) fn accounts(&self) -> impl Iterator<Item = (&'static str, Account)> {
        self.probes.accounts()
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

impl Drop for HandshakeSensor {
    fn drop(&mut self) {
        let libraries = mem::take(&mut self.libraries);
        probes::end(libraries.into_values().flat_map(|it| it.links).collect());
    }
}

fn let_go(links: Vec<Link>, status: &mut Status) {
    for link in &links {
        (0..link.points).for_each(|_| status.detached(link.probe));
    }
    probes::end_aside(links);
}

/// What to attach for a library: program, file, point and cookie. Ways out before ways in: no entry without its exit.
fn points<'a>(
    place: u32,
    plan: &Plan,
    ssl: &'a File,
    crypto: Option<&'a File>,
) -> Vec<(&'static str, &'a File, ProbePoint, u64)> {
    let mut points = Vec::new();
    for exit in &plan.exits {
        points.push(("hs_exit", ssl, *exit, cookie(place, exit.sp_delta)));
    }
    if let Some(error) = &plan.error
        && let Some(file) = if error.in_crypto { crypto } else { Some(ssl) }
    {
        let cookie = error_cookie(plan, error);
        for point in &error.points {
            points.push(("hs_error", file, *point, cookie));
        }
    }
    for call in &plan.session.rejections {
        points.push(("hs_found", ssl, *call, cookie(place, 0)));
    }
    if let Some(removal) = plan.session.removal {
        points.push(("hs_forget", ssl, removal, cookie(place, 0)));
    }
    if let Some(free) = plan.free {
        points.push(("hs_free", ssl, free, cookie(place, 0)));
    }
    for entry in &plan.entries {
        points.push(("hs_enter", ssl, *entry, cookie(place, 0)));
    }
    points
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
        found: open.found,
        found_ns: open.found_ns,
    }
}

/// The SSL library is number 20 (`ERR_LIB_SSL`, include/openssl/err.h), in BoringSSL 16. There only alerts have the reasons that
/// they have elsewhere, 1000 and up; the rest is known to be an error, not which.
fn error_cookie(plan: &Plan, error: &ErrorProbe) -> u64 {
    let (library, first_reason) = match plan.fields.handshake {
        Some(_) => (16, 1000),
        None => (20, 0),
    };
    ErrorCookie {
        reason_arg: error.reason_arg,
        library,
        first_reason,
    }
    .bits()
}

fn layout_bytes(plan: &Plan) -> Bytes<Layout> {
    let fields = &plan.fields;
    let at = |field: Option<plan::Field>| {
        field.map_or(Field::UNKNOWN, |field| Field {
            through: field.through.map(|pointer| pointer.unwrap_or(ABSENT)),
            offset: field.offset,
            mask: field.mask,
        })
    };
    let family = match (fields.legacy_state, fields.handshake) {
        (Some(_), _) => family::ONE_NUMBER,
        (None, Some(_)) => family::HANDSHAKE_OBJECT,
        (None, None) => family::STATE_MACHINE,
    };
    let wants = match family {
        family::HANDSHAKE_OBJECT => BORINGSSL_WANTS,
        _ => OPENSSL_WANTS,
    };
    let role = if plan.role_in_argument {
        hook::ROLE_IN_ARGUMENT
    } else {
        0
    };
    let exits = match plan.hook {
        Hook::DoHandshake => hook::RETURNS,
        Hook::StateMachine | Hook::MethodTable => 0,
    };
    let session = &plan.session;
    let lookups = match session.rejections.first() {
        Some(_) => hook::LOOKUPS,
        None => 0,
    };
    zerocopy::transmute!(Layout {
        state: at(fields.state.or(fields.legacy_state).or(fields.step)),
        hand_state: at(fields.hand_state),
        in_init: at(fields.in_init),
        handshake: at(fields.handshake),
        server: at(fields.server),
        version: at(fields.version),
        hit: at(fields.hit),
        rbio: at(fields.rbio),
        wbio: at(fields.wbio),
        rwstate: at(fields.rwstate),
        client_random: at(fields.client_random),
        session: at(session.pointer),
        session_fields: SessionFields {
            time: session.time.unwrap_or(ABSENT),
            timeout: session.timeout.unwrap_or(ABSENT),
            id: session.id.unwrap_or(ABSENT),
            id_length: session.id_length.unwrap_or(ABSENT),
        },
        bio_flags: fields.bio_flags.unwrap_or(ABSENT),
        family,
        wants,
        hook: role | exits | lookups,
    })
}
