//! Tests that the embedded objects need nothing newer than the kernels they are built for, by their
//! instructions, helpers and maps. A helper or map type that is in no table here fails the test
//! until its first kernel version has been added.

use object::{Object as _, ObjectSection as _, SectionKind};

use super::{Object, object};

type Version = (u32, u32);

/// Oldest kernel of the objects for perf event arrays.
const PERF: Version = (5, 4);
/// Oldest kernel of the objects for ring buffers.
const RING: Version = (5, 8);

/// Program type of an object: each type received a helper in a different version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Uprobes and tracepoints (`bpf_tracing_func_proto`, kernel/trace/bpf_trace.c).
    Tracing,
    /// `cgroup_skb` (`cg_skb_func_proto`, net/core/filter.c).
    Packets,
}
use Kind::{Packets, Tracing};

/// Program type, helper number, first kernel version, name and commit (docs/kernel-versions.md of
/// iovisor/bcc, and the commits).
const HELPERS: &[(Kind, u32, Version, &str)] = &[
    (Tracing, 1, (3, 19), "map_lookup_elem d0003ec01c66"),
    (Tracing, 2, (3, 19), "map_update_elem d0003ec01c66"),
    (Tracing, 3, (3, 19), "map_delete_elem d0003ec01c66"),
    (Tracing, 5, (4, 1), "ktime_get_ns d9847d310ab4"),
    (Tracing, 14, (4, 2), "get_current_pid_tgid ffeedafbf023"),
    (Tracing, 16, (4, 2), "get_current_comm ffeedafbf023"),
    (Tracing, 25, (4, 4), "perf_event_output a43eec304259"),
    (
        Tracing,
        37,
        (4, 9),
        "current_task_under_cgroup 60d20f9195b2",
    ),
    (Tracing, 35, (4, 8), "get_current_task 606274c5abd8"),
    (Tracing, 80, (4, 18), "get_current_cgroup_id bf6fa2c893c5"),
    // 5.5 (6ae08ae3dea2); on older kernels aya replaces them by the probe_read of 4.1
    // (2541517c32be) and the probe_read_str of 4.11 (a5e8c07059d0).
    (Tracing, 112, (4, 1), "probe_read_user"),
    (Tracing, 113, (4, 1), "probe_read_kernel"),
    (Tracing, 115, (4, 11), "probe_read_kernel_str"),
    (Tracing, 130, (5, 8), "ringbuf_output 457f44363a88"),
    (Tracing, 131, (5, 8), "ringbuf_reserve 457f44363a88"),
    (Tracing, 132, (5, 8), "ringbuf_submit 457f44363a88"),
    (Tracing, 133, (5, 8), "ringbuf_discard 457f44363a88"),
    // 5.15 (7adfc6c9b315), behind a constant: kernels with ring buffers do not verify code that a
    // constant excludes.
    (Tracing, 174, (5, 8), "get_attach_cookie"),
    (Packets, 1, (4, 10), "map_lookup_elem 0e33661de493"),
    (Packets, 2, (4, 10), "map_update_elem 0e33661de493"),
    (Packets, 3, (4, 10), "map_delete_elem 0e33661de493"),
    (Packets, 5, (4, 10), "ktime_get_ns 0e33661de493"),
    (Packets, 25, (5, 4), "perf_event_output 7c4b90d79d0f"),
    (Packets, 26, (4, 10), "skb_load_bytes 0e33661de493"),
    (Packets, 46, (4, 12), "get_socket_cookie 91b8270f2a4d"),
    (Packets, 95, (5, 1), "sk_fullsock 46f8bc92758c"),
    (Packets, 96, (5, 1), "tcp_sock 655a51e536c0"),
    (Packets, 107, (5, 2), "sk_storage_get 6ac99e8f23d4"),
    // In 5.8 to 5.9 behind a constant, as above; the agent sets it where the kernel has the helper.
    (Packets, 113, (5, 8), "probe_read_kernel"),
    // Behind a constant, too.
    (Packets, 79, (5, 8), "skb_cgroup_id f307fa2cb4c9"),
    (Packets, 131, (5, 8), "ringbuf_reserve 457f44363a88"),
    (Packets, 132, (5, 8), "ringbuf_submit 457f44363a88"),
    (Packets, 133, (5, 8), "ringbuf_discard 457f44363a88"),
];

/// Map type, first kernel version, name and commit.
const MAPS: &[(u32, Version, &str)] = &[
    (1, (3, 19), "hash 0f8e4bd8a1fc"),
    (2, (3, 19), "array 28fbcfa08d8e"),
    (4, (4, 3), "perf_event_array ea317b267e9d"),
    (6, (4, 6), "percpu_array a10423b87a7e"),
    (8, (4, 8), "cgroup_array 4ed8ec521ed5"),
    (9, (4, 10), "lru_hash 29ba732acbee"),
    (24, (5, 2), "sk_storage 6ac99e8f23d4"),
    (27, (5, 8), "ringbuf 457f44363a88"),
];

/// Descriptions of everything that is newer than `oldest`.
fn requirements_after(bytes: &[u8], kind: Kind, oldest: Version) -> Vec<String> {
    let file = object::File::parse(bytes).expect("an ELF file");
    let mut newer = Vec::new();
    let mut seen = 0;
    for section in file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
    {
        let section_name = section.name().unwrap_or("?").to_owned();
        let code = section.data().expect("code");
        let mut rest = code.chunks_exact(8);
        while let Some(word) = rest.next() {
            seen += 1;
            let instruction = Instruction::read(word);
            if instruction.opcode == 0x18 {
                // `BPF_LD | BPF_IMM | BPF_DW` is the only one of 16 bytes.
                rest.next();
            }
            if let Some(what) = instruction.requirement_after(kind, oldest) {
                newer.push(format!("{section_name}: {what}"));
            }
        }
    }
    assert!(seen > 0, "no instruction");
    let maps = aya_obj::Object::parse(bytes)
        .expect("an object that aya parses")
        .maps;
    assert!(!maps.is_empty(), "no map");
    for (name, map) in &maps {
        let kind = map.map_type();
        match MAPS.iter().find(|(known, ..)| *known == kind) {
            Some((_, since, _)) if *since <= oldest => {}
            Some((_, since, what)) => newer.push(format!("map {name}: {what} of {since:?}")),
            None => newer.push(format!("map {name}: type {kind} is in no table")),
        }
    }
    newer
}

struct Instruction {
    opcode: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    /// `struct bpf_insn` (include/uapi/linux/bpf.h).
    fn read(word: &[u8]) -> Self {
        Self {
            opcode: word[0],
            source: word[1] >> 4,
            offset: i16::from_le_bytes([word[2], word[3]]),
            immediate: i32::from_le_bytes([word[4], word[5], word[6], word[7]]),
        }
    }

    /// Description of the instruction if it is newer than `oldest`. The encodings are in
    /// Documentation/bpf/standardization/instruction-set.rst.
    fn requirement_after(&self, kind: Kind, oldest: Version) -> Option<String> {
        let (class, operation) = (self.opcode & 7, self.opcode & 0xf0);
        let since = |version: Version, what: &str| {
            (version > oldest).then(|| format!("{what} of {version:?}"))
        };
        match (class, self.opcode) {
            (_, 0x85) if self.source == 0 => {
                let id = self.immediate as u32;
                let mut known = HELPERS
                    .iter()
                    .filter(|(of, known, ..)| (*of, *known) == (kind, id));
                match known.next() {
                    Some((_, _, version, what)) => since(*version, what),
                    None => Some(format!("helper {id} is in no table")),
                }
            }
            (_, 0x85) if self.source == 2 => since((5, 13), "a call of a kernel function"),
            (_, 0x18) if self.source >= 4 => since((5, 13), "the address of a function"),
            (3, _) if self.opcode & 0xe0 == 0xc0 && self.immediate != 0 => {
                since((5, 12), "an atomic operation other than addition")
            }
            (1, _) if self.opcode & 0xe0 == 0x80 => since((6, 6), "a load that extends the sign"),
            (_, 0x06) => since((6, 6), "a long jump"),
            (7, 0xd7) => since((6, 6), "an unconditional swap of bytes"),
            (4 | 7, _) if matches!(operation, 0x30 | 0x90 | 0xb0) && self.offset != 0 => {
                since((6, 6), "signed arithmetic")
            }
            (6, _) => since((5, 1), "a jump on 32 bits"),
            _ => None,
        }
    }
}

const OBJECTS: [(&str, Kind, Object); 5] = [
    ("handshake", Tracing, object!("handshake")),
    ("tcp", Tracing, object!("tcp")),
    ("canary", Tracing, object!("canary")),
    ("wire", Packets, object!("wire")),
    ("cgroup", Tracing, object!("cgroup")),
];

#[test]
fn objects_need_nothing_newer_than_their_oldest_kernel() {
    for (name, kind, object) in &OBJECTS {
        for (bytes, oldest) in [(object.perf, PERF), (object.ring, RING)] {
            let newer = requirements_after(bytes, *kind, oldest);
            assert!(newer.is_empty(), "{name} for {oldest:?}: {newer:#?}");
        }
    }
}

/// Shows that the test above can fail: known requirements of the objects are found.
#[test]
fn newer_requirements_are_found() {
    for (name, kind, object) in OBJECTS.iter().filter(|(name, ..)| *name != "canary") {
        let found = requirements_after(object.ring, *kind, PERF).join("\n");
        assert!(
            found.contains("map ") && found.contains("ringbuf 457f44363a88 of (5, 8)"),
            "{name}: {found}"
        );
        assert!(found.contains("ringbuf_"), "{name}: {found}");
        assert_eq!(
            found.contains("get_attach_cookie"),
            *name == "handshake",
            "{found}"
        );
    }
    assert!(!requirements_after(OBJECTS[3].2.perf, Packets, (5, 3)).is_empty());
    let requirement = |word: [u8; 8]| Instruction::read(&word).requirement_after(Tracing, PERF);
    for (word, what) in [
        ([0x85, 0, 0, 0, 181, 0, 0, 0], "in no table"),
        ([0x85, 0x20, 0, 0, 1, 0, 0, 0], "kernel function"),
        ([0x18, 0x40, 0, 0, 1, 0, 0, 0], "address of a function"),
        ([0xdb, 0x10, 0, 0, 1, 0, 0, 0], "atomic"),
        ([0x91, 0x10, 0, 0, 0, 0, 0, 0], "extends the sign"),
        ([0x06, 0, 0, 0, 1, 0, 0, 0], "long jump"),
        ([0xd7, 0, 0, 0, 16, 0, 0, 0], "swap"),
        ([0x3f, 0x10, 1, 0, 0, 0, 0, 0], "signed"),
    ] {
        let found = requirement(word).unwrap_or_default();
        assert!(found.contains(what), "{word:02x?}: {found:?}");
    }
    // A plain addition, a plain load, a jump on 32 bits.
    for word in [
        [0xdb, 0x10, 0, 0, 0, 0, 0, 0],
        [0x79, 0x10, 0, 0, 0, 0, 0, 0],
        [0x66, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(requirement(word), None, "{word:02x?}");
    }
}
