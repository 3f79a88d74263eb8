//! The part of a pod that is decoded: its metadata and the containers of its status. The rest of
//! the API server's response, such as environment variables and command lines, is skipped.

use kube::core::{NotUsed, Object};
use serde::Deserialize;

use reprise_core::pipeline::workload::{Controller, Pod};

/// Annotation of a static pod with the hash that its cgroup path contains
/// (`ConfigHashAnnotationKey`, pkg/kubelet/types/pod_update.go).
const FILE_HASH: &str = "kubernetes.io/config.hash";
/// Labels with the hash of the template, with which the name of a ReplicaSet ends: those of a
/// Deployment and of an Argo Rollout.
const TEMPLATE_HASHES: [&str; 2] = ["pod-template-hash", "rollouts-pod-template-hash"];

/// A pod of the API.
pub(super) type PodObject = Object<NotUsed, PodStatus>;

/// Status of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodStatus {
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

/// Status of a container.
#[derive(Debug, Clone, Deserialize)]
struct ContainerStatus {
    name: String,
    /// `RUNTIME://ID`; none before the container was created.
    #[serde(rename = "containerID")]
    id: Option<String>,
}

impl PodStatus {
    fn containers(self) -> Vec<(String, String)> {
        let lists = [
            self.container_statuses,
            self.init_container_statuses,
            self.ephemeral_container_statuses,
        ];
        let statuses = lists.into_iter().flatten().flatten();
        let named = statuses.filter_map(|status| {
            let (_, id) = status.id.as_deref()?.split_once("://")?;
            Some((id.to_owned(), status.name))
        });
        named.collect()
    }
}

/// What is used of a pod; `None` for one without a name.
pub(super) fn parse(pod: PodObject) -> Option<Pod> {
    let metadata = pod.metadata;
    let annotations = metadata.annotations.unwrap_or_default();
    let labels = metadata.labels.unwrap_or_default();
    let owners = metadata.owner_references.unwrap_or_default();
    let controller = owners
        .into_iter()
        .find(|owner| owner.controller == Some(true));
    let from_file = annotations.get(FILE_HASH).cloned();
    let mut hashes = TEMPLATE_HASHES.iter().filter_map(|name| labels.get(*name));
    Some(Pod {
        uid: from_file.or(metadata.uid)?,
        namespace: metadata.namespace?,
        name: metadata.name?,
        template_hash: hashes.next().cloned(),
        controller: controller.map(|owner| Controller {
            kind: owner.kind,
            name: owner.name,
        }),
        containers: pod.status.unwrap_or_default().containers(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_of_a_deployment() {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": "shop",
                "name": "till-7d9f8b6c5d-x2x9z",
                "uid": "8fd4bc31-4e7c-4f40-a1b2-d1d57f0e0c11",
                "labels": { "app": "till", "pod-template-hash": "7d9f8b6c5d" },
                "ownerReferences": [
                    {
                        "apiVersion": "v1", "kind": "Other", "name": "other", "uid": "1",
                    },
                    {
                        "apiVersion": "apps/v1", "kind": "ReplicaSet",
                        "name": "till-7d9f8b6c5d", "uid": "2", "controller": true,
                    },
                ],
            },
            "spec": { "containers": [{ "name": "proxy", "env": [{ "name": "A", "value": "b" }] }] },
            "status": {
                "phase": "Running",
                "containerStatuses": [
                    { "name": "proxy", "containerID": "containerd://5f5f", "ready": true },
                    { "name": "waiting", "ready": false },
                ],
                "initContainerStatuses": [{ "name": "init", "containerID": "cri-o://6e6e" }],
                "ephemeralContainerStatuses": [{ "name": "debug", "containerID": "docker://7d7d" }],
            },
        });
        let pod = parse(serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!(pod.workload(), "till");
        assert_eq!(pod.container("5f5f"), Some("proxy"));
        assert_eq!(pod.container("6e6e"), Some("init"));
        assert_eq!(pod.container("7d7d"), Some("debug"));
        assert_eq!(pod.containers.len(), 3);
    }

    #[test]
    fn a_static_pod_has_the_hash_of_its_manifest() {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": "kube-system",
                "name": "etcd-node-a",
                "uid": "8fd4bc31-4e7c-4f40-a1b2-d1d57f0e0c11",
                "annotations": { FILE_HASH: "4f2a91c6d3e85b07a1c2d3e4f5061728" },
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Node", "name": "node-a", "uid": "1",
                    "controller": true,
                }],
            },
            "spec": {},
        });
        let pod = parse(serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!(pod.uid, "4f2a91c6d3e85b07a1c2d3e4f5061728");
        assert_eq!((pod.workload(), pod.containers.len()), ("etcd", 0));
    }
}
