//! Pods by the identifier that their cgroups carry. Pure and bounded.

use std::{collections::HashMap, sync::Arc};

use reprise_core::pipeline::workload::MAX_NAME;

/// Pods remembered; the kubelet runs 110 on a node unless told otherwise.
const MAX: usize = 4_096;
/// Bytes at the end of a name that is too long, which are kept.
const TAIL: usize = 17;

/// What is known of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// As its cgroup has it: the API's own, or of a pod from a file on the node the hash of that file.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Names {
    by_uid: HashMap<String, Arc<str>>,
    generation: u64,
}

impl Names {
    /// Takes in all pods that there are, in place of those known.
    pub(super) fn replace(&mut self, pods: impl IntoIterator<Item = Pod>) {
        self.by_uid.clear();
        for pod in pods {
            self.add(pod);
        }
    }

    /// Takes in a pod; returns whether there was room.
    pub(super) fn add(&mut self, pod: Pod) -> bool {
        let Pod {
            uid,
            namespace,
            name,
        } = pod;
        if self.by_uid.len() >= MAX && !self.by_uid.contains_key(&uid) {
            return false;
        }
        let name = fit(format!("pod/{namespace}/{name}")).into();
        if self.by_uid.insert(uid, name).is_none() {
            self.generation += 1;
        }
        true
    }

    /// The pod is gone.
    pub(super) fn remove(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }

    /// `pod/NAMESPACE/NAME`.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&Arc<str>> {
        self.by_uid.get(uid)
    }

    /// Rises whenever a pod became known.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }
}

/// Longer than a workload's name may be, a pod's keeps its end, which tells it from its siblings.
fn fit(name: String) -> String {
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
    fn pods_come_and_go() {
        let mut names = Names::default();
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
    fn long_names_keep_their_ends() {
        let mut names = Names::default();
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
    fn there_is_an_end() {
        let mut names = Names::default();
        for number in 0..MAX {
            assert!(names.add(pod(&number.to_string())));
        }
        assert!(!names.add(pod("one more")));
        // Those that are known may still change.
        assert!(names.add(pod("0")));
        assert_eq!(names.len(), MAX);
    }
}
