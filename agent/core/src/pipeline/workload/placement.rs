//! What the path of a control group (cgroups(7)) shows: the pod, the container and the unit at the
//! positions in the hierarchy where only the system's managers create them. Users create control
//! groups of any name below their own manager, so that what is found there is prefixed with the
//! manager's unit and is never a pod.

use super::pod::Pod;
use crate::model::Owner;

/// Digits of a container's ID, and of its short form, as container runtimes show it.
const ID_DIGITS: usize = 64;
const SHORT_ID: usize = 12;
/// Digits of a pod's identifier, and its length with dashes.
const UID_DIGITS: usize = 32;
const MAX_UID: usize = 36;
/// Suffixes of systemd's units.
const SERVICE: &str = ".service";
const SLICE: &str = ".slice";
const SCOPE: &str = ".scope";

/// Place of a process in the hierarchies of control groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    pod_uid: Option<String>,
    container: Option<Container>,
    unit: Option<String>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Container {
    id: String,
    user_manager: Option<String>,
}

impl Placement {
    /// From the content of `/proc/PID/cgroup`: one path per hierarchy.
    #[must_use]
    pub fn from_proc(content: &str) -> Self {
        let lines = content.lines();
        Self::from_paths(lines.filter_map(|line| line.splitn(3, ':').nth(2)))
    }

    /// From the path of a control group below the root of its hierarchy.
    #[must_use]
    pub fn from_path(path: &str) -> Self {
        Self::from_paths([path])
    }

    fn from_paths<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let positions: Vec<Position<'_>> = paths.into_iter().map(Position::parse).collect();
        Self {
            pod_uid: positions.iter().find_map(Position::pod),
            container: positions.iter().find_map(Position::container),
            unit: positions.iter().find_map(Position::unit),
        }
    }

    /// Identifier of the pod: the UID, or the hash of a static pod's manifest.
    #[must_use]
    pub fn pod_uid(&self) -> Option<&str> {
        self.pod_uid.as_deref()
    }

    /// Whether `pod`, the pod of [`Self::pod_uid`] if it is known, has all names for the owner.
    #[must_use]
    pub fn is_named_by(&self, pod: Option<&Pod>) -> bool {
        let Some(pod) = pod else {
            return self.pod_uid.is_none();
        };
        let mut containers = self.container.iter();
        containers.all(|container| pod.container(&container.id).is_some())
    }

    /// Whether it shows a container.
    #[must_use]
    pub const fn has_container(&self) -> bool {
        self.container.is_some() || self.pod_uid.is_some()
    }

    /// The owner: `pod` is the pod of [`Self::pod_uid`] if it is known, and `process` the name of
    /// the process.
    #[must_use]
    pub fn owner(&self, pod: Option<&Pod>, process: &str) -> Owner {
        let container = self.container.as_ref();
        let short_id = container.map(Container::short_id);
        if let Some(pod) = pod {
            let name = container.and_then(|container| pod.container(&container.id));
            return Owner {
                namespace: pod.namespace.clone(),
                pod: pod.name.clone(),
                container: name.map(str::to_owned).or(short_id).unwrap_or_default(),
                workload: pod.workload().to_owned(),
            };
        }
        // The unit above a pod is that of the container runtime.
        let unit = self.unit.clone().filter(|_| self.pod_uid.is_none());
        Owner {
            container: short_id.unwrap_or_default(),
            workload: unit.unwrap_or_else(|| process_workload(process)),
            ..Owner::default()
        }
    }
}

impl Container {
    fn short_id(&self) -> String {
        let id = &self.id[..SHORT_ID];
        match &self.user_manager {
            Some(manager) => format!("{manager}/{id}"),
            None => id.to_owned(),
        }
    }
}

/// Name of a process as a workload. Programs choose their names: one in the form of a unit or with
/// a slash is marked.
fn process_workload(process: &str) -> String {
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

    /// The innermost pod: `kubepods-burstable-podUID.slice` with underscores, behind the name of
    /// the kubelet's `cgroupRoot` if it has one, or `podUID`
    /// (pkg/kubelet/cm/cgroup_manager_linux.go).
    fn pod(&self) -> Option<String> {
        if self.user_manager.is_some() {
            return None;
        }
        self.path.rsplit('/').find_map(|part| {
            // containerd's name for a group of the systemd driver: `SLICE:cri-containerd:ID`.
            let part = part.split(':').next()?;
            let uid = match part.strip_suffix(SLICE) {
                Some(slice) => {
                    let (parents, pod) = slice.rsplit_once('-')?;
                    parents.split('-').find(|parent| *parent == "kubepods")?;
                    pod.strip_prefix("pod")?
                }
                None => part.strip_prefix("pod")?,
            };
            let is_uid = (UID_DIGITS..=MAX_UID).contains(&uid.len())
                && uid
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b'-' || byte == b'_');
            is_uid.then(|| uid.replace('_', "-"))
        })
    }

    /// The innermost container: `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID`, or the
    /// bare ID.
    fn container(&self) -> Option<Container> {
        let id = self.path.rsplit('/').find_map(|part| {
            let part = part.strip_suffix(SCOPE).unwrap_or(part);
            let id = part.rsplit(['-', ':']).next()?;
            let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_id.then_some(id)
        })?;
        Some(Container {
            id: id.to_owned(),
            user_manager: self.user_manager.map(str::to_owned),
        })
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
mod tests;
