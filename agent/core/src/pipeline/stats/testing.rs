//! Observations for tests.

use crate::model::{
    Connection, HelloFacts, NetworkEvidence, NetworkNamespace, Observation, Offer, Outcome, Role,
    Source, Version,
};

/// A handshake on the wire between 192.0.2.1:443 on this host and `remote`.
pub(in crate::pipeline) fn seen(
    role: Role,
    remote: &str,
    outcome: Outcome,
    offer: Offer,
) -> Observation {
    Observation {
        time_ns: 1,
        duration_ns: 1,
        role,
        tgid: None,
        cgroup: None,
        version: Version::V12,
        outcome,
        connection: Some(Connection {
            local: "192.0.2.1:443".parse().unwrap(),
            remote: remote.parse().unwrap(),
            namespace: NetworkNamespace::Unknown,
        }),
        network: NetworkEvidence::default(),
        source: Source::Wire,
        offer,
        hello: Some(HelloFacts::default()),
        alert: None,
        conflict: false,
        miss: None,
    }
}
