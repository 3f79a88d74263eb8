//! Pod names by the identifier in the paths of their cgroups. Bounded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use reprise_core::pipeline::workload::MAX_NAME;

/// Maximum number of pods; the kubelet's default limit is 110 per node.
const MAX_PODS: usize = 4_096;
/// Number of bytes at the end of a long name that are preserved.
const TAIL: usize = 17;

/// Identity and name of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    /// Identifier in the path of the pod's cgroup: the API object's UID, or the hash of the
    /// manifest file for a static pod.
    pub uid: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
}

/// The table, shared: the watching thread writes it, the observer reads it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pods(Arc<Mutex<PodTable>>);

impl Pods {
    /// Locks the table. The guard must not be held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, PodTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of known pods.
#[derive(Debug, Default)]
pub(crate) struct PodTable {
    by_uid: HashMap<String, Arc<str>>,
    generation: u64,
}

impl PodTable {
    /// Replaces all pods.
    pub(super) fn replace(&mut self, pods: impl IntoIterator<Item = Pod>) {
        self.by_uid.clear();
        for pod in pods {
            self.add(pod);
        }
    }

    /// Adds or updates a pod; returns `false` if the table is full.
    pub(super) fn add(&mut self, pod: Pod) -> bool {
        let Pod {
            uid,
            namespace,
            name,
        } = pod;
        if self.by_uid.len() >= MAX_PODS && !self.by_uid.contains_key(&uid) {
            return false;
        }
        let name = shorten(format!("pod/{namespace}/{name}")).into();
        if self.by_uid.insert(uid, name).is_none() {
            self.generation += 1;
        }
        true
    }

    /// Removes a deleted pod.
    pub(super) fn remove(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }

    /// Name of a pod, `pod/NAMESPACE/NAME`.
    #[must_use]
    pub(crate) fn get(&self, uid: &str) -> Option<&Arc<str>> {
        self.by_uid.get(uid)
    }

    /// Counter that increases whenever a pod is added.
    #[must_use]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }
}

/// Shortens a name to the limit for workload names. Preserves the end, which distinguishes the pods
/// of one deployment.
fn shorten(name: String) -> String {
    let tail = name.len().checked_sub(TAIL).and_then(|at| name.get(at..));
    match (name.get(..MAX_NAME - TAIL - 1), tail) {
        (Some(head), Some(tail)) if name.len() > MAX_NAME => format!("{head}~{tail}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> Pod {
        Pod {
            uid: uid.to_owned(),
            namespace: "shop".to_owned(),
            name: format!("till-{uid}"),
        }
    }

    #[test]
    fn pods_are_added_replaced_and_removed() {
        let mut names = PodTable::default();
        names.replace([pod("a"), pod("b")]);
        assert_eq!(names.get("a").map(|name| &**name), Some("pod/shop/till-a"));
        let before = names.generation();
        assert!(names.add(pod("a")));
        assert_eq!(names.generation(), before, "nothing new");
        assert!(names.add(pod("c")));
        assert!(names.generation() > before);
        names.remove("a");
        assert_eq!(names.get("a"), None);
        names.replace([pod("c")]);
        assert_eq!((names.get("b"), names.len()), (None, 1));
    }

    #[test]
    fn long_names_preserve_their_ends() {
        let mut names = PodTable::default();
        let (one, other) = ("7d9f8b6c5d-x2x9z", "7d9f8b6c5d-k4k2q");
        for end in [one, other] {
            names.add(Pod {
                name: format!("{}-{end}", "a".repeat(100)),
                ..pod(end)
            });
        }
        let [one, other] = [one, other].map(|end| (end, names.get(end).unwrap()));
        assert_ne!(one.1, other.1);
        for (end, name) in [one, other] {
            assert!(
                name.ends_with(end) && name.starts_with("pod/shop/aaa"),
                "{name}"
            );
            assert_eq!(name.len(), MAX_NAME);
        }
    }

    #[test]
    fn a_full_table_rejects_new_pods() {
        let mut names = PodTable::default();
        for number in 0..MAX_PODS {
            assert!(names.add(pod(&number.to_string())));
        }
        assert!(!names.add(pod("one more")));
        // Known pods can still be updated.
        assert!(names.add(pod("0")));
        assert_eq!(names.len(), MAX_PODS);
    }
}
