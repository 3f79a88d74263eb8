//! The probes of the canary, attached to one function of the agent's executable in one canary
//! process each.

use std::num::NonZeroU32;

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
    programs::{
        UProbe,
        uprobe::{UProbeAttachLocation, UProbeScope},
    },
};
use procfs::process::{MMPermissions, Process};
use reprise_ebpf::canary;

use super::{functions::address, kind::ProbeKind};
use crate::bpf::{
    error::SensorError,
    load_retry::retry_interrupted,
    object::{Object, loader, object},
    program::{program, program_error, take_map},
};

/// The object for older kernels runs on all kernels, because its programs send no events.
static OBJECT: Object = object!("canary");

/// The loaded probes; dropping it detaches them.
pub(super) struct CanaryProbes {
    hits: PerCpuArray<MapData, u64>,
    ebpf: Ebpf,
}

impl CanaryProbes {
    /// Loads the object.
    ///
    /// # Errors
    ///
    /// [`SensorError`] if the kernel rejects the object.
    pub(super) fn load() -> Result<Self, SensorError> {
        let mut ebpf = loader()
            .load(OBJECT.perf)
            .map_err(|source| SensorError::Load(Box::new(source)))?;
        let hits = take_map(&mut ebpf, "CN_HITS")?;
        Ok(Self { hits, ebpf })
    }

    /// Attaches the probe of this kind to process `pid`, which runs the agent's executable.
    ///
    /// # Errors
    ///
    /// [`SensorError`] if the kernel rejects the program or the attach point.
    pub(super) fn attach(&mut self, kind: ProbeKind, pid: u32) -> Result<(), SensorError> {
        let (name, _) = probe(kind);
        let missing = SensorError::Missing("code in the agent's own executable");
        let (Some(offset), Some(pid)) = (file_offset(address(kind)), NonZeroU32::new(pid)) else {
            return Err(missing);
        };
        let program = program::<&mut UProbe>(&mut self.ebpf, name)?;
        let loaded = match program.fd() {
            Ok(_) => Ok(()),
            Err(_) => retry_interrupted(|| program.load()),
        };
        loaded
            .and_then(|()| {
                program.attach(
                    UProbeAttachLocation::AbsoluteOffset(offset),
                    "/proc/self/exe",
                    UProbeScope::OneProcess(pid),
                )
            })
            .map_err(|source| program_error(name, source))?;
        Ok(())
    }

    /// Number of times that the probe of this kind fired.
    #[must_use]
    pub(super) fn hits(&self, kind: ProbeKind) -> u64 {
        let (_, slot) = probe(kind);
        let counts = self.hits.get(&slot, 0);
        counts.map_or(0, |counts| counts.iter().sum())
    }
}

/// Name of the program and index of its hit counter.
const fn probe(kind: ProbeKind) -> (&'static str, u32) {
    match kind {
        ProbeKind::Emulated => ("cn_emulated", canary::EMULATED),
        ProbeKind::Stepped => ("cn_stepped", canary::STEPPED),
        ProbeKind::Nop => ("cn_nop", canary::NOP),
        ProbeKind::Return => ("cn_return", canary::RETURN),
    }
}

/// File offset of the code that is mapped at `address` in this process. Needs no symbols.
fn file_offset(address: u64) -> Option<u64> {
    let maps = Process::myself().and_then(|me| me.maps()).ok()?;
    maps.into_iter()
        .find(|map| {
            map.perms.contains(MMPermissions::EXECUTE)
                && (map.address.0..map.address.1).contains(&address)
        })
        .map(|map| address - map.address.0 + map.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::unix::fs::FileExt as _};

    #[test]
    fn the_file_holds_the_code_at_the_returned_offset() {
        let offset = file_offset(address(ProbeKind::Nop)).unwrap();
        let mut code = [0; 5];
        let exe = File::open("/proc/self/exe").unwrap();
        exe.read_exact_at(&mut code, offset).unwrap();
        if cfg!(target_arch = "x86_64") {
            assert_eq!(code, [0x0f, 0x1f, 0x44, 0x00, 0x00]);
        } else {
            assert_eq!(code[..4], [0x1f, 0x20, 0x03, 0xd5]);
        }
        assert_eq!(file_offset(8), None);
    }
}
