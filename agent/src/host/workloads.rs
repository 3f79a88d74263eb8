//! Looks up the owner of a process: by the ID of its cgroup, which the event has, so that it is
//! known although process and container have ended; else in `/proc`. A result is valid for a
//! minute, or until the pod becomes known. Bounded.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;

use crate::{
    bpf::cgroup_watch::CgroupChange,
    host::{HostProcesses, cgroups::Cgroups, pods::Pods},
    status::Status,
};
use reprise_core::{
    model::Owner,
    pipeline::workload::{Placement, WorkloadEvent, process_name},
};

/// Maximum number of cached lookups of processes, and of cgroups.
const MAX_CACHED: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// Lifetime of a cached lookup: a process ID can be reused without an exec event.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Maximum number of sockets' cgroups that wait for their path, and for how long: a handshake
/// without a library is concluded seconds after it ended.
const MAX_WAITING: usize = 4_096;
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The process that an event names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventProcess<'a> {
    pub(crate) tgid: u32,
    /// ID of its cgroup; 0 where the event does not have it.
    pub(crate) cgroup: u64,
    /// Its name, up to the first NUL; empty where the event does not have it.
    pub(crate) comm: &'a [u8],
}

/// Cached lookups.
#[derive(Debug)]
pub(crate) struct Lookups {
    processes: LruCache<u32, CachedProcess>,
    cgroups: LruCache<u64, CachedLookup>,
    /// Programs that processes have executed, and when.
    programs: LruCache<u32, (Instant, String)>,
    /// Cgroups of sockets whose owner is not resolved yet.
    waiting: VecDeque<(Instant, u64)>,
    paths: Cgroups,
    pods: Pods,
    host: HostProcesses,
}

/// A lookup and its validity.
#[derive(Debug, Clone, Copy)]
struct CachedLookup {
    at: Instant,
    /// Generation of the pod table at the lookup, if a name of the pod was unknown then.
    unknown_pod: Option<u64>,
}

/// A lookup of a process in a cgroup.
#[derive(Debug)]
struct CachedProcess {
    cgroup: u64,
    lookup: CachedLookup,
}

impl EventProcess<'_> {
    /// A process that runs and that no event names.
    pub(crate) const fn running(tgid: u32) -> Self {
        Self {
            tgid,
            cgroup: 0,
            comm: &[],
        }
    }
}

impl CachedLookup {
    fn is_valid(&self, pods: u64, now: Instant) -> bool {
        let pod_changed = self
            .unknown_pod
            .is_some_and(|generation| generation != pods);
        now.saturating_duration_since(self.at) < MAX_AGE && !pod_changed
    }
}

/// The text before the first NUL.
fn text(comm: &[u8]) -> String {
    let end = comm.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&comm[..end.unwrap_or(comm.len())]).into_owned()
}

impl Lookups {
    /// Creates empty caches that resolve cgroups by `paths` and pods by `pods`, and else read
    /// `host`.
    #[must_use]
    pub(crate) fn new(pods: Pods, host: HostProcesses, paths: Cgroups) -> Self {
        Self {
            processes: LruCache::new(MAX_CACHED),
            cgroups: LruCache::new(MAX_CACHED),
            programs: LruCache::new(MAX_CACHED),
            waiting: VecDeque::new(),
            paths,
            pods,
            host,
        }
    }

    /// Applies a report of the kernel.
    pub(crate) fn apply(&mut self, change: CgroupChange<'_>) {
        self.paths.apply(change, Instant::now());
    }

    /// Removes the cgroups that ended long ago, and writes the sizes of the table into `status`.
    pub(crate) fn sweep(&mut self, status: &mut Status) {
        self.paths.sweep(Instant::now());
        status.cgroups = self.paths.counts();
    }

    /// Looks up the owner of a process; `None` if the pipeline has a valid one.
    pub(crate) fn process(
        &mut self,
        process: EventProcess<'_>,
        time_ns: u64,
    ) -> Option<WorkloadEvent> {
        let EventProcess { tgid, cgroup, .. } = process;
        let now = Instant::now();
        let generation = self.pods.lock().generation();
        let cached = self.processes.get(&tgid);
        let cached = cached.filter(|cached| cgroup == 0 || cached.cgroup == cgroup);
        if cached.is_some_and(|cached| cached.lookup.is_valid(generation, now)) {
            return None;
        }
        let place = (cgroup != 0)
            .then(|| self.paths.path(cgroup, now))
            .flatten();
        let decided = place.and_then(|path| self.decided_by(&path));
        let placement = match decided {
            Some(placement) => placement,
            None => match self.read(tgid, "cgroup") {
                Some(content) => Placement::from_proc(&content),
                // It was in a cgroup, which may be a container's and may still be found.
                None if cgroup != 0 && !self.paths.has_v1() => {
                    self.socket(cgroup);
                    return None;
                }
                None => Placement::default(),
            },
        };
        let (mut owner, lookup) = self.owner(&placement, "", now);
        if owner.workload.is_empty() {
            owner = self.owner(&placement, &self.name(process, now), now).0;
        }
        self.processes.put(tgid, CachedProcess { cgroup, lookup });
        Some(WorkloadEvent::new(cgroup, tgid, &owner, time_ns))
    }

    /// What the path of a cgroup in the v2 hierarchy shows; `None` where it does not decide: a host
    /// with hierarchies of cgroup v1 can have a process's container there only, and its v2 cgroup
    /// is then that of the container runtime.
    fn decided_by(&self, path: &str) -> Option<Placement> {
        let placement = Placement::from_path(path);
        (placement.has_container() || !self.paths.has_v1()).then_some(placement)
    }

    fn owner(&self, placement: &Placement, name: &str, now: Instant) -> (Owner, CachedLookup) {
        let pods = self.pods.lock();
        let pod = placement.pod_uid().and_then(|uid| pods.get(uid));
        let unknown_pod = (!placement.is_named_by(pod)).then(|| pods.generation());
        let lookup = CachedLookup {
            at: now,
            unknown_pod,
        };
        (placement.owner(pod, name), lookup)
    }

    /// Name of a process: by its executable while it runs, else that of the program that it has
    /// executed recently, else as the event has it.
    fn name(&self, process: EventProcess<'_>, now: Instant) -> String {
        let EventProcess { tgid, comm, .. } = process;
        let running = self.read(tgid, "comm").unwrap_or_default();
        let running = running.trim_end();
        if running.is_empty() {
            let executed = self.programs.peek(&tgid);
            // Older ones can be those of a former process with the same number.
            let executed = executed
                .filter(|(at, _)| now.saturating_duration_since(*at) < MAX_AGE)
                .map(|(_, name)| name.clone());
            return executed.unwrap_or_else(|| text(comm));
        }
        let executable = self.host.executable(tgid).unwrap_or_default();
        let arguments = self.read(tgid, "cmdline").unwrap_or_default();
        let mut arguments = arguments.split('\0');
        let mut next = || arguments.next().unwrap_or_default();
        let arguments = [next(), next()];
        process_name(running, &executable, arguments).to_owned()
    }

    fn read(&self, tgid: u32, file: &str) -> Option<String> {
        self.host.read(tgid, file).ok()
    }

    /// Notes a cgroup whose owner is to be looked up without the process: that of a socket whose
    /// handshake only its packets show.
    pub(crate) fn socket(&mut self, cgroup: u64) {
        let is_noted = self.waiting.iter().any(|(_, noted)| *noted == cgroup);
        if cgroup != 0 && !is_noted && self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((Instant::now(), cgroup));
        }
    }

    /// Looks up the owners of the sockets noted, after the kernel's reports were applied.
    pub(crate) fn sockets(&mut self, time_ns: u64, out: &mut impl FnMut(WorkloadEvent)) {
        let now = Instant::now();
        let generation = self.pods.lock().generation();
        for _ in 0..self.waiting.len() {
            let Some((noted, cgroup)) = self.waiting.pop_front() else {
                break;
            };
            let cached = self.cgroups.get(&cgroup);
            if cached.is_some_and(|cached| cached.is_valid(generation, now)) {
                continue;
            }
            let Some(path) = self.paths.path(cgroup, now) else {
                if now.saturating_duration_since(noted) < MAX_WAIT {
                    self.waiting.push_back((noted, cgroup));
                }
                continue;
            };
            let Some(placement) = self.decided_by(&path) else {
                continue;
            };
            let (owner, lookup) = self.owner(&placement, "", now);
            self.cgroups.put(cgroup, lookup);
            if owner != Owner::default() {
                out(WorkloadEvent::new(cgroup, 0, &owner, time_ns));
            }
        }
    }

    /// Records the program that a process has executed, and removes its cached lookup.
    pub(crate) fn executed(&mut self, tgid: u32, comm: &[u8]) {
        self.processes.pop(&tgid);
        self.programs.put(tgid, (Instant::now(), text(comm)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::cgroup_watch::CgroupChange;

    /// No process has this number (PID_MAX_LIMIT, include/linux/threads.h).
    const NO_PROCESS: u32 = 1 << 23;
    const ID: &str = "5f0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd";

    fn lookups(has_v1: bool, paths: &[(u64, &str)]) -> Lookups {
        let cgroups = Cgroups::without_tree(has_v1);
        let mut lookups = Lookups::new(Pods::default(), HostProcesses::detect(), cgroups);
        for (id, path) in paths {
            lookups.apply(CgroupChange::Created {
                id: *id,
                path: Some(path.as_bytes()),
            });
        }
        lookups
    }

    fn ended(tgid: u32, cgroup: u64) -> EventProcess<'static> {
        EventProcess {
            tgid,
            cgroup,
            comm: b"curl\0xxx",
        }
    }

    /// Container and workload of a process that has ended.
    fn owner(lookups: &mut Lookups, tgid: u32, cgroup: u64) -> [String; 2] {
        let event = lookups.process(ended(tgid, cgroup), 1).unwrap();
        let owner = event.owner();
        [owner.container, owner.workload]
    }

    #[test]
    fn a_lookup_is_cached() {
        let mut lookups = lookups(false, &[]);
        let own = EventProcess::running(std::process::id());
        let event = lookups.process(own, 1).unwrap();
        assert!(!event.owner().workload.is_empty());
        assert_eq!(lookups.process(own, 2), None);
        lookups.executed(own.tgid, b"sh\0");
        assert!(lookups.process(own, 3).is_some());
    }

    #[test]
    fn a_process_that_has_ended_is_in_the_container_or_unit_of_its_cgroup() {
        let container = format!("/system.slice/docker-{ID}.scope");
        let paths = [
            (7, &*container),
            (8, "/system.slice/nginx.service"),
            (1, "/"),
        ];
        let mut lookups = lookups(false, &paths);
        assert_eq!(owner(&mut lookups, NO_PROCESS, 7), [&ID[..12], "curl"]);
        assert_eq!(lookups.process(ended(NO_PROCESS, 7), 2), None);
        // The same number in another cgroup is another process.
        for (cgroup, workload) in [(8, "nginx.service"), (1, "curl"), (0, "curl")] {
            lookups.processes.clear();
            assert_eq!(owner(&mut lookups, NO_PROCESS, cgroup), ["", workload]);
        }
        lookups.processes.clear();
        assert_eq!(lookups.process(ended(NO_PROCESS, 9), 2), None, "no path");
    }

    /// Node.js names its first thread `MainThread`.
    #[test]
    fn a_process_that_has_ended_has_the_name_of_the_program_that_it_executed() {
        let mut lookups = lookups(false, &[(1, "/")]);
        lookups.executed(NO_PROCESS, b"node\0xxx");
        assert_eq!(owner(&mut lookups, NO_PROCESS, 1), ["", "node"]);
        lookups.processes.clear();
        let long_ago = Instant::now().checked_sub(MAX_AGE).unwrap();
        lookups.programs.get_mut(&NO_PROCESS).unwrap().0 = long_ago;
        assert_eq!(owner(&mut lookups, NO_PROCESS, 1), ["", "curl"]);
    }

    #[test]
    fn with_cgroup_v1_only_a_container_decides() {
        let container = format!("/system.slice/docker-{ID}.scope");
        let paths = [(7, &*container), (8, "/system.slice/docker.service")];
        let mut lookups = lookups(true, &paths);
        assert_eq!(owner(&mut lookups, NO_PROCESS, 7), [&ID[..12], "curl"]);
        assert_eq!(owner(&mut lookups, NO_PROCESS, 8), ["", "curl"]);
        let mut found = Vec::new();
        lookups.socket(7);
        lookups.socket(8);
        lookups.sockets(1, &mut |event| found.push(event));
        assert_eq!(found, [WorkloadEvent::new(7, 0, &found[0].owner(), 1)]);
    }

    #[test]
    fn sockets_wait_for_the_path_of_their_cgroup() {
        let mut lookups = lookups(false, &[(1, "/")]);
        let mut found = Vec::new();
        for cgroup in [0, 1, 7, 7] {
            lookups.socket(cgroup);
        }
        lookups.sockets(1, &mut |event| found.push(event));
        assert_eq!(found, []);
        lookups.apply(CgroupChange::Created {
            id: 7,
            path: Some(b"/web.slice/nginx.service"),
        });
        lookups.apply(CgroupChange::Removed { id: 7 });
        lookups.sockets(2, &mut |event| found.push(event));
        let owner = Owner::from_workload("nginx.service");
        assert_eq!(found, [WorkloadEvent::new(7, 0, &owner, 2)]);
        lookups.socket(7);
        lookups.sockets(3, &mut |event| found.push(event));
        assert_eq!(found.len(), 1);
    }
}
