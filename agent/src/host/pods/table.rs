//! Pods by the identifier in the paths of their cgroups. Bounded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use reprise_core::pipeline::workload::Pod;

/// Maximum number of pods; the kubelet's default limit is 110 per node.
const MAX_PODS: usize = 4_096;
/// Maximum number of containers per pod.
const MAX_CONTAINERS: usize = 64;

/// The table, shared: the watching thread writes it, the observer reads it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pods(Arc<Mutex<PodTable>>);

impl Pods {
    /// Locks the table. The guard must not be held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, PodTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Known pods.
#[derive(Debug, Default)]
pub(crate) struct PodTable {
    by_uid: HashMap<String, Pod>,
    generation: u64,
}

impl PodTable {
    /// Replaces all pods.
    pub(super) fn replace(&mut self, pods: impl IntoIterator<Item = Pod>) {
        let former = std::mem::take(&mut self.by_uid);
        for mut pod in pods {
            pod.containers.truncate(MAX_CONTAINERS);
            if self.has_space_for(&pod.uid) {
                self.generation += u64::from(former.get(&pod.uid) != Some(&pod));
                self.by_uid.insert(pod.uid.clone(), pod);
            }
        }
    }

    /// Adds or updates a pod; returns `false` if the table is full.
    pub(super) fn add(&mut self, mut pod: Pod) -> bool {
        if !self.has_space_for(&pod.uid) {
            return false;
        }
        pod.containers.truncate(MAX_CONTAINERS);
        if self.by_uid.get(&pod.uid) != Some(&pod) {
            self.generation += 1;
            self.by_uid.insert(pod.uid.clone(), pod);
        }
        true
    }

    fn has_space_for(&self, uid: &str) -> bool {
        self.by_uid.len() < MAX_PODS || self.by_uid.contains_key(uid)
    }

    /// Removes a deleted pod.
    pub(super) fn remove(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }

    /// A pod.
    #[must_use]
    pub(crate) fn get(&self, uid: &str) -> Option<&Pod> {
        self.by_uid.get(uid)
    }

    /// Counter that increases whenever a pod is added or changes.
    #[must_use]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
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
            ..Pod::default()
        }
    }

    #[test]
    fn pods_are_added_replaced_and_removed() {
        let mut pods = PodTable::default();
        pods.replace([pod("a"), pod("b")]);
        assert_eq!(pods.get("a"), Some(&pod("a")));
        let before = pods.generation();
        assert!(pods.add(pod("a")));
        pods.replace([pod("a"), pod("b")]);
        assert_eq!(pods.generation(), before, "nothing new");
        assert!(pods.add(pod("c")));
        assert!(pods.generation() > before);
        pods.remove("a");
        assert_eq!(pods.get("a"), None);
        pods.replace([pod("c")]);
        assert_eq!((pods.get("b"), pods.len()), (None, 1));
    }

    #[test]
    fn containers_that_start_later_are_a_change() {
        let mut pods = PodTable::default();
        assert!(pods.add(pod("a")));
        let before = pods.generation();
        let mut started = pod("a");
        started.containers = vec![("5f".repeat(32), "proxy".to_owned()); MAX_CONTAINERS + 1];
        assert!(pods.add(started));
        assert!(pods.generation() > before);
        let known = pods.get("a").unwrap();
        assert_eq!(known.container(&"5f".repeat(32)), Some("proxy"));
        assert_eq!(known.containers.len(), MAX_CONTAINERS);
    }

    #[test]
    fn a_full_table_rejects_new_pods() {
        let mut pods = PodTable::default();
        for number in 0..MAX_PODS {
            assert!(pods.add(pod(&number.to_string())));
        }
        assert!(!pods.add(pod("one more")));
        // Known pods can still be updated.
        assert!(pods.add(pod("0")));
        assert_eq!(pods.len(), MAX_PODS);
    }
}
