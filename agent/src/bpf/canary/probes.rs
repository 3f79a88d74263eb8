//! The probes that `canary` puts its sacrificed processes under: placed into the agent's own executable, and into one process
//! of it at a time.

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

use crate::bpf::canary::Perch;
use crate::bpf::{
    SensorError,
    object::{Object, loader, object},
    program, refused, take_map,
};

/// It sends nothing: the one for older kernels runs on all.
static OBJECT: Object = object!("canary");

/// The loaded object; dropping it detaches.
pub struct Probes {
    hits: PerCpuArray<MapData, u64>,
    ebpf: Ebpf,
}

impl Probes {
    /// # Errors
    ///
    /// [`SensorError`] where the kernel refuses the object.
    pub fn load() -> Result<Self, SensorError> {
        let mut ebpf = loader()
            .load(OBJECT.perf)
            .map_err(|source| SensorError::Load(Box::new(source)))?;
        let hits = take_map(&mut ebpf, "CN_HITS")?;
        Ok(Self { hits, ebpf })
    }

    /// Places the probe that sits on `perch` into process `pid`, which runs the agent's executable.
    ///
    /// # Errors
    ///
    /// [`SensorError`] where the kernel refuses the program or the attach point.
    pub fn attach(&mut self, perch: Perch, pid: u32) -> Result<(), SensorError> {
        let (name, _) = probe(perch);
        let missing = SensorError::Missing("code in the agent's own executable");
        let (Some(offset), Some(pid)) = (file_offset(perch.address()), NonZeroU32::new(pid)) else {
            return Err(missing);
        };
        let program = program::<&mut UProbe>(&mut self.ebpf, name)?;
        program
            .load()
            .and_then(|()| {
                program.attach(
                    UProbeAttachLocation::AbsoluteOffset(offset),
                    "/proc/self/exe",
                    UProbeScope::OneProcess(pid),
                )
            })
            .map_err(|source| refused(name, source))?;
        Ok(())
    }

    /// How often the probe on `perch` fired.
    #[must_use]
    pub fn hits(&self, perch: Perch) -> u64 {
        let (_, slot) = probe(perch);
        let counts = self.hits.get(&slot, 0);
        counts.map_or(0, |counts| counts.iter().sum())
    }
}

const fn probe(perch: Perch) -> (&'static str, u32) {
    match perch {
        Perch::Emulated => ("cn_emulated", canary::EMULATED),
        Perch::Stepped => ("cn_stepped", canary::STEPPED),
        Perch::Nop => ("cn_nop", canary::NOP),
        Perch::Return => ("cn_return", canary::RETURN),
    }
}

/// Where the file of this executable holds what is mapped at `address`: works without symbols and wherever it was loaded.
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
    fn the_file_holds_the_code_at_the_offset_that_was_found() {
        let offset = file_offset(Perch::Nop.address()).unwrap();
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
