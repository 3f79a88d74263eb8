//! Owners, as the API shows them.

use std::fmt;

use serde::{Deserialize, Serialize};

use reprise_core::model::Owner;

/// Owner of a process; a name that does not exist is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRow {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes pod.
    pub pod: String,
    /// Name of the container, or the short form of its ID.
    pub container: String,
    /// Deployment, other controller, unit or process; `unknown` where it is not known.
    pub workload: String,
}

impl From<&Owner> for OwnerRow {
    fn from(owner: &Owner) -> Self {
        let Owner {
            namespace,
            pod,
            container,
            workload,
        } = owner.clone();
        Self {
            namespace,
            pod,
            container,
            workload,
        }
    }
}

impl fmt::Display for OwnerRow {
    /// Writes `NAMESPACE/WORKLOAD (pod POD, container CONTAINER)`, without what there is none of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.workload)?;
        let parts = [("pod", &self.pod), ("container", &self.container)];
        let parts = parts.into_iter().filter(|(_, name)| !name.is_empty());
        for (index, (kind, name)) in parts.clone().enumerate() {
            let separator = if index == 0 { " (" } else { ", " };
            write!(f, "{separator}{kind} {name}")?;
        }
        if parts.count() > 0 {
            f.write_str(")")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_exist_are_left_out() {
        for (names, expected) in [
            (["", "", "", "nginx.service"], "nginx.service"),
            (
                ["", "", "5f5f5f5f5f5f", "nginx"],
                "nginx (container 5f5f5f5f5f5f)",
            ),
            (
                ["shop", "till-x2x9z", "proxy", "till"],
                "shop/till (pod till-x2x9z, container proxy)",
            ),
        ] {
            let [namespace, pod, container, workload] = names.map(str::to_owned);
            let owner = OwnerRow {
                namespace,
                pod,
                container,
                workload,
            };
            assert_eq!(owner.to_string(), expected);
        }
    }
}
