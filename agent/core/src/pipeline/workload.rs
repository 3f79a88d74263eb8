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

/// Workload of a process, from its `/proc/PID/cgroup` (cgroups(7)) and its name.
#[must_use]
pub fn name(cgroup: &str, process: &str) -> String {
    let paths: Vec<&str> = cgroup
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .collect();
    let container = paths.iter().find_map(|path| container(path));
    let named = container.or_else(|| paths.iter().find_map(|path| unit(path)));
    named.unwrap_or_else(|| process.to_owned())
}

/// Identifier of the pod that a process with this `/proc/PID/cgroup` runs in:
/// `kubepods-burstable-podUID.slice` with underscores, or `podUID`
/// (pkg/kubelet/cm/cgroup_manager_linux.go).
#[must_use]
pub fn pod(cgroup: &str) -> Option<String> {
    let parts = cgroup.lines().flat_map(|line| line.rsplit('/'));
    let mut uids = parts.filter_map(|part| {
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
    });
    uids.next()
}

/// Name of the container of the innermost path component with a container's ID: `docker-ID.scope`,
/// `cri-containerd-ID.scope`, `crio-ID`, or the bare ID.
fn container(path: &str) -> Option<String> {
    let part = path.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit(['-', ':']).next()?;
        let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then_some(id)
    })?;
    Some(format!("container/{}", &part[..SHORT_ID]))
}

/// The innermost service. Scopes are login sessions and similar: less specific than the process's
/// name.
fn unit(path: &str) -> Option<String> {
    let services = path.rsplit('/').filter(|part| part.ends_with(".service"));
    // The manager of a user's services is not the service.
    let mut services = services.filter(|part| !part.starts_with("user@"));
    services.next().map(str::to_owned)
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
                "sync.service",
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
