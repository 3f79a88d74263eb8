//! Probes the kernel's BPF features by small loads. Distributions backport features and disable
//! them, so that a version number does not show which ones exist.

use aya::{
    maps::MapType,
    programs::{ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};

use super::load_retry::retry_interrupted;
use crate::errors::chain;

/// Result of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The kernel has the feature.
    Yes,
    /// The kernel does not have the feature.
    No,
    /// The kernel rejected the probe, for this reason.
    Refused(String),
}

/// BPF features of the running kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Features {
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
    /// Attach cookies, which identify the attach points of a program.
    pub attach_cookie: Answer,
    /// Links for perf events.
    pub perf_link: Answer,
    /// `bpf_probe_read_user`.
    pub probe_read_user: Answer,
    /// Socket storage in programs that see packets.
    pub socket_storage: Answer,
    /// The kernel charges maps to the memory cgroup instead of the memory lock limit.
    pub charged_to_cgroup: Answer,
}

impl Features {
    /// Probes the kernel. Below 5.11 every load counts against the memory lock limit, so that the
    /// limit should be raised before.
    #[must_use]
    pub(crate) fn probe() -> Self {
        let bpf = map(MapType::Array);
        // aya probes these once and reports a rejected probe as a missing feature.
        let probed_by_aya = |probe: fn() -> bool| match &bpf {
            Answer::Yes => has(probe()),
            other => other.clone(),
        };
        Self {
            uprobe: program(ProgramType::KProbe),
            tracepoint: program(ProgramType::TracePoint),
            cgroup_skb: program(ProgramType::CgroupSkb),
            ring_buffer: map(MapType::RingBuf),
            attach_cookie: probed_by_aya(|| aya::features().bpf_cookie()),
            perf_link: probed_by_aya(|| aya::features().bpf_perf_link()),
            probe_read_user: helper(ProgramType::KProbe, BpfHelper::BPF_FUNC_probe_read_user),
            socket_storage: helper(ProgramType::CgroupSkb, BpfHelper::BPF_FUNC_sk_storage_get),
            // Both came with 5.11; libbpf uses the same probe (`probe_memcg_account`).
            charged_to_cgroup: helper(
                ProgramType::SocketFilter,
                BpfHelper::BPF_FUNC_ktime_get_coarse_ns,
            ),
            bpf,
        }
    }
}

/// Whether a program may read the kernel's memory; lockdown for confidentiality closes the helper,
/// which every kernel has (`bpf_tracing_func_proto`, kernel/trace/bpf_trace.c, since 5.13).
pub(crate) fn reads_kernel() -> Answer {
    helper(ProgramType::KProbe, BpfHelper::BPF_FUNC_probe_read)
}

/// Whether a signal interrupted aya's own probes, which it makes once and never repeats: every
/// supported kernel that creates maps also has global data.
pub(super) fn were_interrupted() -> bool {
    !aya::features().bpf_global_data() && map(MapType::Array) == Answer::Yes
}

const fn has(feature: bool) -> Answer {
    if feature { Answer::Yes } else { Answer::No }
}

fn map(kind: MapType) -> Answer {
    is_map_supported(kind).map_or_else(|error| Answer::Refused(chain(&error)), has)
}

fn program(kind: ProgramType) -> Answer {
    answer(retry_interrupted(|| is_program_supported(kind)))
}

fn helper(kind: ProgramType, helper: BpfHelper) -> Answer {
    answer(retry_interrupted(|| is_helper_supported(kind, helper)))
}

fn answer(result: Result<bool, ProgramError>) -> Answer {
    result.map_or_else(|error| Answer::Refused(chain(&error)), has)
}
