//! Owner: whose process made a handshake, by the labels that other exporters use.

use std::fmt;

/// Owner of a process. Names are whole; a name that does not exist is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes pod.
    pub pod: String,
    /// Name of the container, or the short form of its ID.
    pub container: String,
    /// Deployment, StatefulSet, DaemonSet, Job or CronJob in Kubernetes; elsewhere the systemd
    /// unit, else the name of the process.
    pub workload: String,
}

impl Owner {
    /// An owner outside Kubernetes and containers.
    #[must_use]
    pub fn from_workload(workload: &str) -> Self {
        Self {
            workload: workload.to_owned(),
            ..Self::default()
        }
    }
}

impl fmt::Display for Owner {
    /// Writes `NAMESPACE/WORKLOAD`, or the workload where there is no namespace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.workload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_shown_by_namespace_and_workload() {
        let mut owner = Owner::from_workload("haproxy");
        assert_eq!(owner.to_string(), "haproxy");
        owner.namespace = "checkout".to_owned();
        assert_eq!(owner.to_string(), "checkout/haproxy");
    }
}
