//! Uprobe-multi links (kernel 6.6): one link holds all points of a program in one file. Closing one
//! waits for the kernel once, whereas perf events wait a tenth of a second each, in sequence.
//!
//! aya 0.14 cannot load programs for these links. This module links the programs with the maps of
//! the object that aya loaded (by aya-obj) and makes the two system calls itself.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::{CStr, CString},
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya::{Ebpf, maps::Map};
use aya_obj::{
    Function, Object,
    generated::{bpf_attach_type, bpf_cmd, bpf_prog_type},
};
use zerocopy::{Immutable, IntoBytes};

use super::{error::SensorError, load_retry::retry_interrupted};

/// Size of a program name including its NUL, bytes (`BPF_OBJ_NAME_LEN`).
const NAME_SIZE: usize = 16;

/// Programs loaded for uprobe-multi links, by name.
pub(super) struct MultiPrograms(BTreeMap<&'static str, OwnedFd>);

/// File offset and cookie of an attach point.
pub(super) type Point = (u64, u64);

/// The kernel's statistics of a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ProgramStats {
    pub(super) runs: u64,
    pub(super) run_ns: u64,
    /// Number of instructions that the verifier processed; `None` before 5.16.
    pub(super) verified: Option<u32>,
}

impl MultiPrograms {
    /// Loads the named programs of `object` with the maps of `first`.
    ///
    /// # Errors
    ///
    /// [`SensorError::Link`] if the object cannot be linked, [`SensorError::Verifier`] if the
    /// kernel rejects a program.
    pub(super) fn load(
        object: &[u8],
        first: &Ebpf,
        probes: &[&'static str],
    ) -> Result<Self, SensorError> {
        let mut object =
            Object::parse(object).map_err(|error| SensorError::Link(Box::new(error)))?;
        let maps = std::mem::take(&mut object.maps);
        let text: HashSet<usize> = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        let open = maps.iter().filter_map(|(name, map)| {
            let fd = descriptor(first.map(name)?)?;
            Some((name.as_str(), fd.as_raw_fd(), map))
        });
        object
            .relocate_maps(open, &text)
            .and_then(|()| object.relocate_calls(&text))
            .map_err(|error| SensorError::Link(Box::new(error)))?;
        let mut loaded = BTreeMap::new();
        for probe in probes {
            let program = object.programs.get(*probe);
            let (program, function) = program
                .and_then(|program| Some((program, object.functions.get(&program.function_key())?)))
                .ok_or(SensorError::Missing(probe))?;
            let fd = load(probe, function, &program.license)
                .map_err(|source| SensorError::from_load(probe, source))?;
            loaded.insert(*probe, fd);
        }
        Ok(Self(loaded))
    }

    /// Attaches a program to points of a file.
    ///
    /// # Errors
    ///
    /// [`SensorError::UprobeMulti`]; none of the points is attached then.
    pub(super) fn attach(
        &self,
        probe: &'static str,
        file: &Path,
        points: &[Point],
    ) -> Result<OwnedFd, SensorError> {
        let program = self.0.get(probe).ok_or(SensorError::Missing(probe))?;
        let path = CString::new(file.as_os_str().as_bytes());
        path.map_err(io::Error::from)
            .and_then(|path| link(program.as_fd(), &path, points))
            .map_err(|source| SensorError::UprobeMulti { probe, source })
    }

    /// The kernel's statistics, by program.
    pub(super) fn stats(&self) -> impl Iterator<Item = (&'static str, ProgramStats)> {
        self.0.iter().filter_map(|(probe, fd)| {
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
            Some((*probe, parse_stats(&text.ok()?)))
        })
    }
}

/// Whether the kernel has uprobe-multi links: such a kernel rejects a directory with `EBADF`
/// (libbpf probes in the same way, `probe_uprobe_multi_link`).
pub(super) fn is_supported() -> bool {
    // mov64 r0, 0; exit
    let code = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0_u8];
    let created = load_code("rp_ask_multi", &code, c"Dual MIT/GPL")
        .and_then(|program| link(program.as_fd(), c"/", &[(1, 0)]));
    created.is_err_and(|error| error.raw_os_error() == Some(libc::EBADF))
}

/// File descriptor of a map of a type that the programs use.
fn descriptor(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::Array(map)
        | Map::CgroupArray(map)
        | Map::HashMap(map)
        | Map::LruHashMap(map)
        | Map::PerCpuArray(map)
        | Map::PerfEventArray(map)
        | Map::RingBuf(map) => Some(map.fd().as_fd()),
        _ => None,
    }
}

fn load(name: &str, function: &Function, license: &CStr) -> io::Result<OwnedFd> {
    let code: Vec<u8> = function
        .instructions
        .iter()
        .flat_map(|insn| {
            let registers = insn.dst_reg() | insn.src_reg() << 4;
            let [off_low, off_high] = insn.off.to_le_bytes();
            let [a, b, c, d] = insn.imm.to_le_bytes();
            [insn.code, registers, off_low, off_high, a, b, c, d]
        })
        .collect();
    load_code(name, &code, license)
}

/// Attributes of `BPF_PROG_LOAD` in `union bpf_attr` (include/uapi/linux/bpf.h), up to the last one
/// used here: the kernel treats the rest as zero.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_SIZE],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// Loads a program from its encoded instructions, eight bytes each.
fn load_code(name: &str, code: &[u8], license: &CStr) -> io::Result<OwnedFd> {
    let mut load = Load {
        prog_type: bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32,
        insn_cnt: (code.len() / 8) as u32,
        insns: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        expected_attach_type: bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32,
        ..Load::default()
    };
    for (to, from) in load.prog_name[..NAME_SIZE - 1].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    retry_interrupted(|| bpf(bpf_cmd::BPF_PROG_LOAD, &load))
}

/// Attributes of `BPF_LINK_CREATE` with the `uprobe_multi` member of its union.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    cnt: u32,
    multi_flags: u32,
    pid: u32,
    reserved: u32,
}

fn link(program: BorrowedFd<'_>, path: &CStr, points: &[Point]) -> io::Result<OwnedFd> {
    let (offsets, cookies): (Vec<u64>, Vec<u64>) = points.iter().copied().unzip();
    let create = LinkCreate {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32,
        path: path.as_ptr() as u64,
        offsets: offsets.as_ptr() as u64,
        cookies: cookies.as_ptr() as u64,
        cnt: points.len() as u32,
        ..LinkCreate::default()
    };
    bpf(bpf_cmd::BPF_LINK_CREATE, &create)
}

/// Runs a bpf() command that returns a file descriptor.
fn bpf<T: IntoBytes + Immutable>(command: bpf_cmd, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attributes` and the memory they point to,
    // which `load_code` and `link` keep alive until the call returns. Without a log buffer neither
    // command writes to user memory.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            attributes.as_bytes().as_ptr(),
            size_of::<T>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just created this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Parses `/proc/self/fdinfo` of a program (`bpf_prog_show_fdinfo`, kernel/bpf/syscall.c).
fn parse_stats(text: &str) -> ProgramStats {
    let value = |name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .parse()
                .ok()
        })
    };
    ProgramStats {
        runs: value("run_cnt").unwrap_or(0),
        run_ns: value("run_time_ns").unwrap_or(0),
        verified: value("verified_insns").and_then(|count: u64| u32::try_from(count).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_the_layout_of_the_kernel() {
        assert_eq!(std::mem::offset_of!(Load, expected_attach_type), 68);
        assert_eq!(std::mem::offset_of!(LinkCreate, path), 16);
        assert_eq!(std::mem::offset_of!(LinkCreate, pid), 56);
    }

    #[test]
    fn statistics_are_parsed_by_name() {
        let text = "pos:\t0\nprog_type:\t2\nrun_time_ns:\t1200\nrun_cnt:\t3\nverified_insns:\t57\n";
        let expected = ProgramStats {
            runs: 3,
            run_ns: 1200,
            verified: Some(57),
        };
        assert_eq!(parse_stats(text), expected);
        assert_eq!(parse_stats("pos:\t0\n"), ProgramStats::default());
    }
}
