//! Who runs a process: places in the table of libraries are shared between owners.

use std::{fs, rc::Rc};

/// Components of a control group's path that are compared where none ends a group.
const MAX_DEPTH: usize = 3;
/// Digits of a container's ID.
const ID_DIGITS: usize = 64;

/// The user and the control group of a process. A user can create control groups only below the
/// group that is named here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Owner {
    /// A service, a container, or all sessions of a user.
    pub(super) group: Rc<str>,
    /// The real user ID.
    pub(super) uid: u32,
}

impl Owner {
    /// The root user in no group.
    pub(super) fn nobody() -> Self {
        Self {
            group: "".into(),
            uid: 0,
        }
    }

    /// Reads the owner of a process; the root user in no group if the process has ended.
    pub(super) fn read(pid: u32) -> Self {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        Self {
            group: group(&String::from_utf8_lossy(&read("cgroup"))).into(),
            uid: uid(&read("status")).unwrap_or_default(),
        }
    }
}

/// The real user ID in `/proc/PID/status` (proc_pid_status(5)).
fn uid(status: &[u8]) -> Option<u32> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let ids = lines.find_map(|line| line.strip_prefix(b"Uid:"))?;
    let ids = std::str::from_utf8(ids).ok()?;
    ids.split_ascii_whitespace().next()?.parse().ok()
}

/// The group in `/proc/PID/cgroup` (cgroups(7)), by the longest path of all hierarchies.
fn group(cgroup: &str) -> String {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let path = paths.max_by_key(|path| path.len()).unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let end = parts.iter().position(|part| ends_group(part));
    let depth = end.map_or(MAX_DEPTH, |at| at + 1).min(parts.len());
    parts.get(..depth).unwrap_or_default().join("/")
}

/// Whether what is below this component of a path belongs to one owner.
fn ends_group(part: &str) -> bool {
    let is_user = part.starts_with("user-") && part.ends_with(".slice");
    let id = part.rsplit(['-', ':']).next().unwrap_or(part);
    let is_container = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_user || is_container || part.ends_with(".service") || part.ends_with(".scope")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_cannot_leave_its_group() {
        let id = "0123456789abcdef".repeat(4);
        let scope =
            format!("0::/kubepods.slice/kubepods-podx.slice/cri-containerd-{id}.scope/a/b\n");
        let docker = format!("3:cpu:/docker/{id}/x.service\n");
        let cases = [
            (
                "0::/system.slice/nginx.service/x\n",
                "system.slice/nginx.service".to_owned(),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/a/x.service\n",
                "user.slice/user-1000.slice".to_owned(),
            ),
            (
                &scope,
                format!("kubepods.slice/kubepods-podx.slice/cri-containerd-{id}.scope"),
            ),
            (&docker, format!("docker/{id}")),
            ("1:name=systemd:/\n0::/lxc/a/b/c/d\n", "lxc/a/b".to_owned()),
            ("0::/\n", String::new()),
            ("", String::new()),
        ];
        for (cgroup, expected) in cases {
            assert_eq!(group(cgroup), expected, "{cgroup}");
        }
    }

    #[test]
    fn the_real_user_is_read() {
        assert_eq!(uid(b"Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t5\n"), Some(1000));
        assert_eq!(uid(b"Uid:\n"), None);
        assert_eq!(
            Owner::read(std::process::id()).uid,
            nix::unistd::getuid().as_raw()
        );
    }
}
