//! Generations of a service's processes: when all of them were replaced, by a restart or a reload.
//! Bounded: the service without a handshake for the longest time is evicted.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::process::{ProcessId, Processes};
use crate::model::ServiceId;

/// Services retained, and processes of each.
const MAX_SERVICES: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
const MAX_PROCESSES: usize = 64;
/// Time for which a process serves before its end counts as that of a generation, nanoseconds.
/// Workers of one start make their first handshakes at different times.
const SETTLED_NS: u64 = 600_000_000_000;
/// Minimum time that one of the replaced processes served, nanoseconds: in a server with one
/// process per connection, a new process is not a replacement.
const MIN_SERVED_NS: u64 = 10_000_000_000;

#[derive(Debug, Clone, Copy)]
struct Member {
    process: ProcessId,
    first_ns: u64,
    last_ns: u64,
    /// Whether it belongs to the present generation; otherwise it may belong to the next one.
    settled: bool,
}

/// All processes of a service were replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replacement {
    /// When the first of the new processes began its first handshake, nanoseconds.
    pub(super) time_ns: u64,
    /// That process.
    pub(super) tgid: u32,
}

/// Processes of one service.
#[derive(Debug, Default)]
struct Generation {
    members: Vec<Member>,
    /// Whether it had more processes than are retained: then the end of all of them cannot be
    /// known.
    crowded: bool,
}

/// Table of generations.
#[derive(Debug)]
pub(super) struct Generations(LruCache<ServiceId, Generation>);

impl Generations {
    pub(super) fn new() -> Self {
        Self(LruCache::new(MAX_SERVICES))
    }

    /// Records a handshake that a process of the service began; returns the replacement that it
    /// shows.
    pub(super) fn observe(
        &mut self,
        service: ServiceId,
        process: ProcessId,
        begin_ns: u64,
        processes: &Processes,
    ) -> Option<Replacement> {
        let has_ended =
            |member: &Member| processes.has_ended(member.process, begin_ns) == Some(true);
        let generation = self.0.get_or_insert_mut(service, Generation::default);
        if generation.crowded {
            return None;
        }
        let members = &mut generation.members;
        let known = members.iter_mut().find(|member| member.process == process);
        let is_new = known.is_none();
        match known {
            Some(member) => member.last_ns = member.last_ns.max(begin_ns),
            None => {
                if members.len() >= MAX_PROCESSES {
                    members.retain(|member| !has_ended(member));
                }
                if members.len() >= MAX_PROCESSES {
                    *generation = Generation {
                        members: Vec::new(),
                        crowded: true,
                    };
                    return None;
                }
                members.push(Member {
                    process,
                    first_ns: begin_ns,
                    last_ns: begin_ns,
                    settled: false,
                });
            }
        }
        let any_settled = members.iter().any(|member| member.settled);
        let is_former = |member: &Member| match any_settled {
            true => member.settled,
            false => is_new && member.process != process,
        };
        let (former, others): (Vec<Member>, Vec<Member>) =
            members.iter().copied().partition(|one| is_former(one));
        let has_served = former
            .iter()
            .any(|member| member.last_ns.saturating_sub(member.first_ns) >= MIN_SERVED_NS);
        if let Some(first) = others.iter().min_by_key(|member| member.first_ns)
            && has_served
            && former.iter().all(has_ended)
        {
            let replacement = Replacement {
                time_ns: first.first_ns,
                tgid: first.process.tgid,
            };
            *members = others;
            for member in members {
                member.settled = true;
            }
            return Some(replacement);
        }
        for member in members {
            member.settled |= begin_ns.saturating_sub(member.first_ns) >= SETTLED_NS;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const SERVICE: ServiceId = ServiceId(1);

    #[derive(Debug)]
    struct Host {
        processes: Processes,
        generations: Generations,
    }

    impl Host {
        fn new() -> Self {
            Self {
                processes: Processes::new(),
                generations: Generations::new(),
            }
        }

        fn handshake(&mut self, tgid: u32, second: u64) -> Option<(u32, u64)> {
            let begin_ns = second * SECOND;
            let process = self.processes.observe(tgid, begin_ns);
            let found = self
                .generations
                .observe(SERVICE, process, begin_ns, &self.processes);
            found.map(|found| (found.tgid, found.time_ns / SECOND))
        }

        fn end(&mut self, tgid: u32, second: u64) {
            self.processes.end(tgid, second * SECOND, false);
        }
    }

    #[test]
    fn a_restart_replaces_the_process() {
        let mut host = Host::new();
        assert_eq!(host.handshake(7, 0), None);
        assert_eq!(host.handshake(7, 20), None);
        host.end(7, 25);
        assert_eq!(host.handshake(8, 30), Some((8, 30)));
        assert_eq!(host.handshake(8, 45), None);
        host.end(8, 50);
        assert_eq!(host.handshake(9, 60), Some((9, 60)));
    }

    #[test]
    fn a_reload_replaces_the_workers_once_the_last_of_the_old_ones_has_ended() {
        let mut host = Host::new();
        for second in (0..700).step_by(100) {
            assert_eq!(host.handshake(7, second), None);
            assert_eq!(host.handshake(8, second + 1), None);
        }
        assert_eq!(host.handshake(17, 710), None);
        host.end(7, 715);
        assert_eq!(host.handshake(18, 720), None);
        assert_eq!(host.handshake(8, 725), None);
        host.end(8, 730);
        assert_eq!(host.handshake(18, 740), Some((17, 710)));
        assert_eq!(host.handshake(17, 750), None);
    }

    #[test]
    fn one_worker_of_several_that_is_replaced_is_no_change() {
        let mut host = Host::new();
        for second in (0..700).step_by(100) {
            host.handshake(7, second);
            host.handshake(8, second + 1);
        }
        host.end(7, 710);
        assert_eq!(host.handshake(9, 720), None);
        assert_eq!(host.handshake(8, 730), None);
    }

    #[test]
    fn nothing_is_concluded_about_more_processes_than_are_retained() {
        let mut host = Host::new();
        for tgid in 0..100 {
            assert_eq!(host.handshake(tgid, 0), None);
            assert_eq!(host.handshake(tgid, 20), None);
        }
        for tgid in 0..100 {
            host.end(tgid, 30);
        }
        assert_eq!(host.handshake(200, 40), None);
        let members = host
            .generations
            .0
            .peek(&SERVICE)
            .map(|one| one.members.len());
        assert_eq!(members, Some(0));
    }

    #[test]
    fn a_process_for_each_connection_is_no_change() {
        let mut host = Host::new();
        for tgid in 100..300 {
            assert_eq!(host.handshake(tgid, u64::from(tgid)), None);
            host.end(tgid, u64::from(tgid) + 1);
        }
    }
}
