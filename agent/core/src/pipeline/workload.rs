//! Workloads: the container or the systemd unit that a process runs in, else the process's name.
//! Pure: the content of `/proc/PID/cgroup` is an argument, and the result is a record, so that a
//! replay has it too.

use reprise_ebpf::Header;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Header::kind` of [`WorkloadEvent`]; the kernel never sends it.
pub const WORKLOAD: u32 = 252;
/// Longest name, bytes; longer names are truncated.
pub const MAX_NAME: usize = 64;
/// Digits of a container's ID, and of its short form, as container runtimes show it.
const ID_DIGITS: usize = 64;
const SHORT_ID: usize = 12;
/// Digits of a pod's identifier, and its length with dashes.
const UID_DIGITS: usize = 32;
const MAX_UID: usize = 36;
/// Suffixes of systemd's units.
const SERVICE: &str = ".service";
const SLICE: &str = ".slice";

/// A process belongs to this workload, from the time of this record on.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WorkloadEvent {
    /// Kind, and the time at which the workload was resolved.
    pub header: Header,
    /// Process.
    pub tgid: u32,
    /// Length of the name, bytes.
    pub length: u32,
    /// The name, UTF-8, then zeroes.
    pub name: [u8; MAX_NAME],
}

impl WorkloadEvent {
    /// A record that assigns process `tgid` to the workload of this name, truncated if too long.
    #[must_use]
    pub fn new(tgid: u32, name: &str, time_ns: u64) -> Self {
        let mut length = name.len().min(MAX_NAME);
        while !name.is_char_boundary(length) {
            length -= 1;
        }
        let mut event = Self {
            header: Header {
                kind: WORKLOAD,
                size: size_of::<Self>() as u32,
                time_ns,
            },
            tgid,
            length: length as u32,
            name: [0; MAX_NAME],
        };
        event.name[..length].copy_from_slice(&name.as_bytes()[..length]);
        event
    }

    /// The name; empty if it is not valid UTF-8.
    #[must_use]
    pub fn name(&self) -> &str {
        let bytes = self.name.get(..self.length as usize).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// Workload of a process, from its `/proc/PID/cgroup` (cgroups(7)) and its name: the container or
/// the unit at the position in the hierarchy where only the system's manager creates one. Users
/// create control groups of any name below their own manager, so that what is found there is
/// prefixed with the manager's unit.
#[must_use]
pub fn name(cgroup: &str, process: &str) -> String {
    let positions: Vec<Position<'_>> = paths(cgroup).map(Position::parse).collect();
    let container = positions.iter().find_map(Position::container);
    let named = container.or_else(|| positions.iter().find_map(Position::unit));
    named.unwrap_or_else(|| process_name(process))
}

/// Identifier of the pod that a process with this `/proc/PID/cgroup` runs in:
/// `kubepods-burstable-podUID.slice` with underscores, or `podUID`
/// (pkg/kubelet/cm/cgroup_manager_linux.go). Never one of a control group below a user's manager.
#[must_use]
pub fn pod(cgroup: &str) -> Option<String> {
    let positions = paths(cgroup).map(Position::parse);
    let mut parts = positions
        .filter(|position| position.user_manager.is_none())
        .flat_map(|position| position.path.rsplit('/'));
    parts.find_map(|part| {
        let part = part.strip_suffix(".slice").unwrap_or(part);
        let uid = match part.strip_prefix("kubepods-") {
            Some(rest) => rest.rsplit('-').next()?.strip_prefix("pod")?,
            None => part.strip_prefix("pod")?,
        };
        let is_uid = (UID_DIGITS..=MAX_UID).contains(&uid.len())
            && uid
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b'-' || byte == b'_');
        is_uid.then(|| uid.replace('_', "-"))
    })
}

/// Paths of a process's control groups, one per hierarchy.
fn paths(cgroup: &str) -> impl Iterator<Item = &str> {
    let lines = cgroup.lines();
    lines.filter_map(|line| line.splitn(3, ':').nth(2))
}

/// Name of a process as a workload. Programs choose their names: one in the form of a unit or of a
/// container is marked.
fn process_name(process: &str) -> String {
    if process.ends_with(SERVICE) || process.contains('/') {
        format!("process/{process}")
    } else {
        process.to_owned()
    }
}

/// A control group's path, divided where a user's own part of the hierarchy begins.
struct Position<'a> {
    /// `user@UID.service` in `user.slice/user-UID.slice`: the user owns all below it.
    user_manager: Option<&'a str>,
    /// The path from there, or the whole path.
    path: &'a str,
}

impl<'a> Position<'a> {
    fn parse(path: &'a str) -> Self {
        // An agent in a cgroup namespace of its own sees the others' paths relative to it.
        let mut path = path.trim_start_matches('/');
        while let Some(rest) = path.strip_prefix("../") {
            path = rest;
        }
        let whole = Self {
            user_manager: None,
            path,
        };
        let mut parts = path.splitn(4, '/');
        let (Some("user.slice"), Some(slice), Some(manager)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return whole;
        };
        let uid = |name: &'a str, prefix, suffix| -> Option<&'a str> {
            name.strip_prefix(prefix)?.strip_suffix(suffix)
        };
        match (uid(slice, "user-", SLICE), uid(manager, "user@", SERVICE)) {
            (Some(slice_uid), Some(uid)) if slice_uid == uid => Self {
                user_manager: Some(manager),
                path: parts.next().unwrap_or_default(),
            },
            _ => whole,
        }
    }

    fn prefixed(&self, name: &str) -> String {
        match self.user_manager {
            Some(manager) => format!("{manager}/{name}"),
            None => name.to_owned(),
        }
    }

    /// The innermost path component with a container's ID: `docker-ID.scope`,
    /// `cri-containerd-ID.scope`, `crio-ID`, or the bare ID.
    fn container(&self) -> Option<String> {
        let id = self.path.rsplit('/').find_map(|part| {
            let part = part.strip_suffix(".scope").unwrap_or(part);
            let id = part.rsplit(['-', ':']).next()?;
            let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_id.then_some(id)
        })?;
        Some(self.prefixed(&format!("container/{}", &id[..SHORT_ID])))
    }

    /// The service below nothing but slices: what is inside a service is its own, whatever the
    /// name. Scopes are login sessions and similar: less specific than the process's name.
    fn unit(&self) -> Option<String> {
        let mut parts = self.path.split('/');
        let unit = parts.find(|part| !part.ends_with(SLICE))?;
        unit.ends_with(SERVICE).then(|| self.prefixed(unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn containers_of_each_runtime() {
        for path in [
            format!("0::/system.slice/docker-{ID}.scope\n"),
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-{ID}.scope\n"
            ),
            format!("0::/kubepods/besteffort/pod6f1c/{ID}\n"),
            format!("0::/kubepods-pod1.slice:cri-containerd:{ID}\n"),
            format!("12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/\n"),
            format!("0::/machine.slice/libpod-{ID}.scope/container\n"),
        ] {
            assert_eq!(name(&path, "nginx"), "container/0123456789ab", "{path}");
        }
    }

    #[test]
    fn units_then_process_names() {
        for (cgroup, expected) in [
            ("0::/system.slice/haproxy.service\n", "haproxy.service"),
            (
                "0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n",
                "postgresql@15-main.service",
            ),
            (
                "1:name=systemd:/system.slice/nginx.service/workers\n0::/\n",
                "nginx.service",
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/sync.service\n",
                "user@1000.service/sync.service",
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice\n",
                "curl",
            ),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", "curl"),
            ("0::/\n", "curl"),
            ("", "curl"),
            ("rubbish", "curl"),
        ] {
            assert_eq!(name(cgroup, "curl"), expected, "{cgroup}");
        }
    }

    #[test]
    fn positions_that_users_control_name_no_unit_of_the_system() {
        const MANAGER: &str = "0::/user.slice/user-1000.slice/user@1000.service";
        let uid = "8fd4bc31-4e7c-4f40-a1b2-d1d57f0e0c11";
        for (case, cgroup, expected) in [
            (
                "a unit's name below a login session",
                "0::/user.slice/user-1000.slice/session-3.scope/haproxy.service\n".to_owned(),
                "curl",
            ),
            (
                "a unit's name directly below the user's manager",
                format!("{MANAGER}/haproxy.service\n"),
                "user@1000.service/haproxy.service",
            ),
            (
                "a unit's name inside a unit of the user",
                format!("{MANAGER}/app.slice/sync.service/haproxy.service\n"),
                "user@1000.service/sync.service",
            ),
            (
                "a whole path of the system below the user's manager",
                format!("{MANAGER}/system.slice/haproxy.service\n"),
                "user@1000.service/haproxy.service",
            ),
            (
                "another user's manager below the user's manager",
                format!("{MANAGER}/user.slice/user-0.slice/user@0.service/x.service\n"),
                "user@1000.service/user@0.service",
            ),
            (
                "a scope of the user with a unit's name inside",
                format!("{MANAGER}/app.slice/run-1.scope/haproxy.service\n"),
                "curl",
            ),
            (
                "a container of the user",
                format!("{MANAGER}/user.slice/libpod-{ID}.scope/container\n"),
                "user@1000.service/container/0123456789ab",
            ),
            (
                "a pod's name below the user's manager",
                format!("{MANAGER}/kubepods.slice/kubepods-pod{uid}.slice/crio-{ID}.scope\n"),
                "user@1000.service/container/0123456789ab",
            ),
            (
                "a manager in another user's slice is a unit as any other",
                "0::/user.slice/user-1.slice/user@2.service/x.service\n".to_owned(),
                "user@2.service",
            ),
            (
                "the runtime directory's unit of a user",
                "0::/user.slice/user-1000.slice/user-runtime-dir@1000.service\n".to_owned(),
                "user-runtime-dir@1000.service",
            ),
            (
                "a unit's name inside a unit of the system",
                "0::/system.slice/ci-runner.service/haproxy.service\n".to_owned(),
                "ci-runner.service",
            ),
            (
                "a unit in a slice of its own",
                "0::/web.slice/web-front.slice/haproxy.service\n".to_owned(),
                "haproxy.service",
            ),
            (
                "a unit without a slice",
                "0::/haproxy.service\n".to_owned(),
                "haproxy.service",
            ),
            (
                "a unit's name below a group that is neither slice nor service",
                "0::/build/haproxy.service\n".to_owned(),
                "curl",
            ),
            (
                "a unit, seen from a container",
                "0::/../../../system.slice/haproxy.service\n".to_owned(),
                "haproxy.service",
            ),
            (
                "a user's unit, seen from a container",
                "0::/../../../user.slice/user-7.slice/user@7.service/app.slice/a.service\n"
                    .to_owned(),
                "user@7.service/a.service",
            ),
            (
                "version 1 of control groups",
                "5:cpu:/user.slice\n1:name=systemd:/user.slice/user-7.slice/user@7.service/x.service\n0::/\n"
                    .to_owned(),
                "user@7.service/x.service",
            ),
        ] {
            assert_eq!(name(&cgroup, "curl"), expected, "{case}: {cgroup}");
            assert_eq!(pod(&cgroup), None, "{case}: {cgroup}");
        }
    }

    #[test]
    fn process_names_in_the_form_of_a_unit_or_a_pod_are_marked() {
        for (process, expected) in [
            ("haproxy.service", "process/haproxy.service"),
            ("pod/default/web", "process/pod/default/web"),
            ("nginx: worker", "nginx: worker"),
        ] {
            assert_eq!(name("0::/user.slice\n", process), expected);
        }
    }

    #[test]
    fn pods_of_both_cgroup_drivers() {
        const UID: &str = "8fd4bc31-4e7c-4f40-a1b2-d1d57f0e0c11";
        let underscores = UID.replace('-', "_");
        let hash = "4f2a91c6d3e85b07a1c2d3e4f5061728";
        for (cgroup, expected) in [
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscores}.slice/cri-containerd-{ID}.scope\n"
                ),
                Some(UID),
            ),
            (
                format!("0::/kubepods.slice/kubepods-pod{underscores}.slice/crio-{ID}.scope\n"),
                Some(UID),
            ),
            (
                format!("0::/kubepods/besteffort/pod{UID}/{ID}\n"),
                Some(UID),
            ),
            (
                format!("0::/../../kubelet/kubepods/pod{UID}/{ID}\n"),
                Some(UID),
            ),
            (
                format!("5:cpu:/kubepods/pod{hash}/{ID}\n0::/\n"),
                Some(hash),
            ),
            (format!("0::/system.slice/docker-{ID}.scope\n"), None),
            (
                format!("0::/machine.slice/libpod-{ID}.scope/container\n"),
                None,
            ),
            (
                "0::/kubepods.slice/kubepods-podman.slice\n".to_owned(),
                None,
            ),
        ] {
            assert_eq!(pod(&cgroup).as_deref(), expected, "{cgroup}");
        }
    }

    #[test]
    fn long_names_are_truncated_between_characters() {
        let event = WorkloadEvent::new(7, &"ä".repeat(40), 1);
        assert_eq!(event.name(), "ä".repeat(32));
        let event = WorkloadEvent::new(7, &format!("x{}", "ä".repeat(40)), 1);
        assert_eq!(event.name(), format!("x{}", "ä".repeat(31)));
    }
}
