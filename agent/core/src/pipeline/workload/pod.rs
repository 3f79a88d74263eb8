//! Pods, as the API server describes them.

/// Digits at the end of the name of a Job that a CronJob created: the scheduled time in minutes
/// (`getJobName`, pkg/controller/cronjob).
const MIN_MINUTES: usize = 8;

/// Controller of a pod: its owner reference with `controller: true`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Kind of the object, such as `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What is used of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Identifier in the path of the pod's control group: the UID of the API object, or the hash of
    /// the manifest for a static pod.
    pub uid: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Label `pod-template-hash`, with which the name of a Deployment's ReplicaSet ends.
    pub template_hash: Option<String>,
    /// Controller; none for a bare pod.
    pub controller: Option<Controller>,
    /// IDs of its containers, without the runtime's prefix, and their names.
    pub containers: Vec<(String, String)>,
}

impl Pod {
    /// The workload that the pod belongs to, from its metadata alone: the Deployment of a
    /// ReplicaSet, the CronJob of a Job, a static pod without the name of its node, another
    /// controller itself, or the pod.
    #[must_use]
    pub fn workload(&self) -> &str {
        let Some(controller) = &self.controller else {
            return &self.name;
        };
        let name = &controller.name;
        let shorter = match controller.kind.as_str() {
            "ReplicaSet" => self
                .template_hash
                .as_ref()
                .and_then(|hash| without_suffix(name, hash)),
            "Job" => without_minutes(name),
            "Node" => Some(without_suffix(&self.name, name).unwrap_or(&self.name)),
            _ => None,
        };
        shorter.unwrap_or(name)
    }

    /// Name of a container.
    #[must_use]
    pub fn container(&self, id: &str) -> Option<&str> {
        let mut containers = self.containers.iter();
        let found = containers.find(|(known, _)| known == id);
        found.map(|(_, name)| name.as_str())
    }
}

fn without_suffix<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let name = name.strip_suffix(suffix)?.strip_suffix('-')?;
    (!name.is_empty()).then_some(name)
}

fn without_minutes(name: &str) -> Option<&str> {
    let (cron_job, minutes) = name.rsplit_once('-')?;
    let are_minutes =
        minutes.len() >= MIN_MINUTES && minutes.bytes().all(|byte| byte.is_ascii_digit());
    (are_minutes && !cron_job.is_empty()).then_some(cron_job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workload_follows_from_the_metadata() {
        for (pod, hash, controller, expected) in [
            (
                "till-7d9f8b6c5d-x2x9z",
                Some("7d9f8b6c5d"),
                Some(("ReplicaSet", "till-7d9f8b6c5d")),
                "till",
            ),
            ("till-x2x9z", None, Some(("ReplicaSet", "till")), "till"),
            (
                "other-x2x9z",
                Some("7d9f8b6c5d"),
                Some(("ReplicaSet", "other")),
                "other",
            ),
            (
                "report-29384756-k4k2q",
                None,
                Some(("Job", "report-29384756")),
                "report",
            ),
            (
                "migrate-2024-abcde",
                None,
                Some(("Job", "migrate-2024")),
                "migrate-2024",
            ),
            (
                "29384756-abcde",
                None,
                Some(("Job", "29384756")),
                "29384756",
            ),
            ("dns-0", None, Some(("StatefulSet", "dns")), "dns"),
            ("agent-x7x7x", None, Some(("DaemonSet", "agent")), "agent"),
            (
                "kube-apiserver-node-1",
                None,
                Some(("Node", "node-1")),
                "kube-apiserver",
            ),
            ("static", None, Some(("Node", "node-1")), "static"),
            ("clone-abc", None, Some(("CloneSet", "clone")), "clone"),
            ("debug", None, None, "debug"),
        ] {
            let pod = Pod {
                name: pod.to_owned(),
                template_hash: hash.map(str::to_owned),
                controller: controller.map(|(kind, name)| Controller {
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                }),
                ..Pod::default()
            };
            assert_eq!(pod.workload(), expected, "{pod:?}");
        }
    }
}
