//! Offsets of fields in the kernel's structures, from its BTF (Documentation/bpf/btf.rst, Linux
//! 6.18).

use std::{collections::HashMap, fs, io, sync::OnceLock};

use thiserror::Error;

/// The BTF of this kernel.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// `BTF_MAGIC` (include/uapi/linux/btf.h), in the byte order of this host.
const MAGIC: u16 = 0xeb9f;
/// `BTF_KIND_STRUCT`.
const STRUCT: u32 = 4;
/// Size of `struct btf_type` and of `struct btf_member`, bytes.
const TYPE: usize = 12;
const MEMBER: usize = 12;

/// A field: names of structure and member.
pub(super) type Field = (&'static str, &'static str);

/// The fields that are used.
pub(super) mod field {
    use super::Field;

    pub(in crate::bpf) const SOCKET_NAMESPACE: Field = ("sock_common", "skc_net");
    pub(in crate::bpf) const NAMESPACE: Field = ("net", "ns");
    pub(in crate::bpf) const NAMESPACE_INODE: Field = ("ns_common", "inum");
    pub(in crate::bpf) const USER_NAMESPACE: Field = ("net", "user_ns");
    pub(in crate::bpf) const USER_NAMESPACE_LEVEL: Field = ("user_namespace", "level");
    pub(in crate::bpf) const SOCKET_CGROUP: Field = ("sock", "sk_cgrp_data");
    pub(in crate::bpf) const CGROUP_NODE: Field = ("cgroup", "kn");
    pub(in crate::bpf) const NODE_ID: Field = ("kernfs_node", "id");
    pub(in crate::bpf) const CGROUP_STATE: Field = ("cgroup", "self");
    pub(in crate::bpf) const CGROUP_PARENT: Field = ("cgroup_subsys_state", "parent");

    pub(in crate::bpf) const CGROUP_ROOT: Field = ("cgroup", "root");
    pub(in crate::bpf) const HIERARCHY: Field = ("cgroup_root", "hierarchy_id");
    pub(in crate::bpf) const TASK_LEADER: Field = ("task_struct", "group_leader");
    pub(in crate::bpf) const TASK_COMM: Field = ("task_struct", "comm");

    pub(in crate::bpf) const SOCKET_ERROR: Field = ("sock", "sk_err");

    pub(super) const ALL: [Field; 15] = [
        SOCKET_NAMESPACE,
        NAMESPACE,
        NAMESPACE_INODE,
        USER_NAMESPACE,
        USER_NAMESPACE_LEVEL,
        SOCKET_CGROUP,
        CGROUP_NODE,
        NODE_ID,
        CGROUP_STATE,
        CGROUP_PARENT,
        CGROUP_ROOT,
        HIERARCHY,
        TASK_LEADER,
        TASK_COMM,
        SOCKET_ERROR,
    ];
}

/// Why the offsets of fields are not known.
#[derive(Debug, Error)]
pub(crate) enum NoOffsets {
    /// The kernel has no readable BTF.
    #[error("the kernel's BTF could not be read (CONFIG_DEBUG_INFO_BTF)")]
    Btf(#[source] io::Error),
    /// The BTF does not have this field at an offset that the programs can use.
    #[error("the kernel's BTF has no usable field {}.{}", .0.0, .0.1)]
    Field(Field),
}

/// Offsets of the fields that the BTF has.
pub(super) struct Offsets(HashMap<Field, u32>);

impl Offsets {
    /// The offsets in the BTF of this kernel, which is read once.
    ///
    /// # Errors
    ///
    /// The BTF cannot be read.
    pub(super) fn of_kernel() -> io::Result<&'static Self> {
        static READ: OnceLock<Result<Offsets, io::ErrorKind>> = OnceLock::new();
        let read = || match fs::read(BTF) {
            Ok(bytes) => Ok(Self::read(&bytes)),
            Err(error) => Err(error.kind()),
        };
        READ.get_or_init(read)
            .as_ref()
            .map_err(|kind| (*kind).into())
    }

    /// What `from_btf` makes of the offsets in the BTF of this kernel.
    ///
    /// # Errors
    ///
    /// [`NoOffsets`].
    pub(super) fn find<T>(
        from_btf: impl FnOnce(&Self) -> Result<T, Field>,
    ) -> Result<T, NoOffsets> {
        let offsets = Self::of_kernel().map_err(NoOffsets::Btf)?;
        from_btf(offsets).map_err(NoOffsets::Field)
    }

    /// Reads the offsets; malformed BTF has none.
    pub(super) fn read(btf: &[u8]) -> Self {
        Self(offsets(btf, &field::ALL).unwrap_or_default())
    }

    /// Offset of a field, bytes.
    ///
    /// # Errors
    ///
    /// The field, if the BTF does not have it.
    pub(super) fn at(&self, field: Field) -> Result<u32, Field> {
        self.0.get(&field).copied().ok_or(field)
    }
}

/// Returns the offset of each field that the BTF has, bytes; `None` for malformed BTF.
fn offsets(btf: &[u8], fields: &[Field]) -> Option<HashMap<Field, u32>> {
    let bytes = Bytes(btf);
    if bytes.u16(0)? != MAGIC {
        return None;
    }
    let header = bytes.u32(4)? as usize;
    let section = |at: usize| -> Option<Bytes<'_>> {
        let start = header.checked_add(bytes.u32(at)? as usize)?;
        let end = start.checked_add(bytes.u32(at + 4)? as usize)?;
        btf.get(start..end).map(Bytes)
    };
    let (types, names) = (section(8)?, section(16)?);
    let mut found = HashMap::new();
    let mut at = 0;
    while at < types.0.len() && found.len() < fields.len() {
        let info = types.u32(at + 4)?;
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let body = at + TYPE;
        if kind == STRUCT {
            let name = names.text(types.u32(at)?)?;
            for field in fields.iter().filter(|field| field.0.as_bytes() == name) {
                let members = (0..count).map(|index| body + index * MEMBER);
                let offset = member(types, names, members, field.1, info >> 31 != 0);
                if let Some(offset) = offset {
                    found.entry(*field).or_insert(offset);
                }
            }
        }
        at = body + trailer(kind, count)?;
    }
    Some(found)
}

/// Offset of a member that is not a bit field, bytes.
fn member(
    types: Bytes<'_>,
    names: Bytes<'_>,
    mut members: impl Iterator<Item = usize>,
    name: &str,
    has_bit_sizes: bool,
) -> Option<u32> {
    let at = members.find(|at| {
        let found = types.u32(*at).and_then(|offset| names.text(offset));
        found == Some(name.as_bytes())
    })?;
    let bits = types.u32(at + 8)?;
    let bits = if has_bit_sizes {
        bits & 0x00ff_ffff
    } else {
        bits
    };
    (bits % 8 == 0).then_some(bits / 8)
}

/// Size of what follows a `struct btf_type` of this kind, bytes; `None` for unknown kinds.
const fn trailer(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Pointers, forward declarations, typedefs, modifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, declaration tags.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Structures, unions, sections, enumerations of 64 bits.
        STRUCT | 5 | 15 | 19 => count * MEMBER,
        // Enumerations, function prototypes.
        6 | 13 => count * 8,
        _ => return None,
    })
}

/// Bounds-checked access.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        let bytes = self.0.get(at..at.checked_add(N)?)?;
        bytes.try_into().ok()
    }

    fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_ne_bytes)
    }

    fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_ne_bytes)
    }

    /// The text that ends with NUL.
    fn text(self, at: u32) -> Option<&'a [u8]> {
        let rest = self.0.get(at as usize..)?;
        rest.split(|byte| *byte == 0).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[u8] = b"\0first\0second\0net\0";
    const NET: u32 = 14;

    /// BTF with an integer, a structure with an 8-byte and a bit-field member, and `last`.
    fn btf(last: &[u32]) -> Vec<u8> {
        let types = [
            &[0, 1 << 24, 4, 32][..],
            &[NET, 1 << 31 | STRUCT << 24 | 2, 16],
            &[1, 1, 64, 7, 1, 3 << 24 | 68],
            last,
        ]
        .concat();
        let words = [
            24,
            0,
            types.len() as u32 * 4,
            types.len() as u32 * 4,
            NAMES.len() as u32,
        ];
        let mut bytes = [&MAGIC.to_ne_bytes()[..], &[1, 0]].concat();
        for word in words.iter().chain(&types) {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(NAMES);
        bytes
    }

    #[test]
    fn members_have_offsets_and_bit_fields_have_none() {
        let fields = [("net", "first"), ("net", "second"), ("nets", "first")];
        let found = offsets(&btf(&[]), &fields).unwrap();
        assert_eq!(found, HashMap::from([(("net", "first"), 8)]));
    }

    #[test]
    fn malformed_types_are_no_offsets() {
        let fields = [("net", "second")];
        assert_eq!(offsets(b"", &fields), None);
        assert_eq!(offsets(&btf(&[0, 31 << 24, 0]), &fields), None, "kind");
        assert_eq!(offsets(&btf(&[99, STRUCT << 24, 0]), &fields), None, "name");
        let whole = btf(&[]);
        for length in 0..whole.len() {
            let _ = offsets(&whole[..length], &fields);
        }
    }
}
