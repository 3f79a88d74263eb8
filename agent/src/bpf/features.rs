//! What the kernel's BPF can do, asked of the kernel by tiny loads: distributions port features back, and lock them away, so a
//! version number answers nothing.

use aya::{
    maps::MapType,
    programs::{ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};

/// Answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The kernel has it.
    Yes,
    /// It has not.
    No,
    /// The kernel did not let us ask.
    Refused(String),
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// The bpf() system call.
    pub bpf: Answer,
    /// Programs for uprobes.
    pub uprobe: Answer,
    /// Programs for tracepoints.
    pub tracepoint: Answer,
    /// Programs that see a cgroup's packets.
    pub cgroup_skb: Answer,
    /// Ring buffers.
    pub ring_buffer: Answer,
    /// Cookies that tell attach points of one program apart.
    pub attach_cookie: Answer,
    /// Links for perf events.
    pub perf_link: Answer,
    /// `bpf_probe_read_user`.
    pub probe_read_user: Answer,
    /// Socket storage in programs that see packets.
    pub socket_storage: Answer,
    /// Maps are charged to the memory cgroup rather than to the memory lock limit.
    pub charged_to_cgroup: Answer,
}

impl Features {
    /// Asks the kernel. The memory lock limit should have been raised before: below 5.11 every load counts against it.
    #[must_use]
    pub fn probe() -> Self {
        let bpf = map(MapType::Array);
        // aya asks these once for all, and takes a refusal for a no.
        let asked_by_aya = |ask: fn() -> bool| match &bpf {
            Answer::Yes => has(ask()),
            other => other.clone(),
        };
        Self {
            uprobe: program(ProgramType::KProbe),
            tracepoint: program(ProgramType::TracePoint),
            cgroup_skb: program(ProgramType::CgroupSkb),
            ring_buffer: map(MapType::RingBuf),
            attach_cookie: asked_by_aya(|| aya::features().bpf_cookie()),
            perf_link: asked_by_aya(|| aya::features().bpf_perf_link()),
            probe_read_user: helper(ProgramType::KProbe, BpfHelper::BPF_FUNC_probe_read_user),
            socket_storage: helper(ProgramType::CgroupSkb, BpfHelper::BPF_FUNC_sk_storage_get),
            // Came with 5.11 as that did; libbpf asks the same (`probe_memcg_account`).
            charged_to_cgroup: helper(
                ProgramType::SocketFilter,
                BpfHelper::BPF_FUNC_ktime_get_coarse_ns,
            ),
            bpf,
        }
    }
}

const fn has(it: bool) -> Answer {
    if it { Answer::Yes } else { Answer::No }
}

fn map(kind: MapType) -> Answer {
    is_map_supported(kind).map_or_else(|error| Answer::Refused(crate::chain(&error)), has)
}

fn program(kind: ProgramType) -> Answer {
    answer(is_program_supported(kind))
}

fn helper(kind: ProgramType, helper: BpfHelper) -> Answer {
    answer(is_helper_supported(kind, helper))
}

fn answer(asked: Result<bool, ProgramError>) -> Answer {
    asked.map_or_else(|error| Answer::Refused(crate::chain(&error)), has)
}
