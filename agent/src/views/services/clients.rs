//! Clients of one service, as the API shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use reprise_core::{
    model::ClientKind,
    pipeline::stats::{Pace, ServiceArrivals},
};

/// Clients of a service with a handshake within the window, by address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientCounts {
    /// What they show: `unknown`, `none`, `storm` or `attack`.
    pub surge: String,
    /// Clients that the service knew before.
    pub returning: u64,
    /// Clients that were not observed before; `None` where some may have been forgotten.
    pub new: Option<u64>,
    /// Clients that were not observed before and may have been forgotten.
    pub unknown: u64,
    /// Suspicious clients by their behaviour, without zeroes.
    pub suspects: BTreeMap<String, u64>,
    /// Returning clients without a suspicion, in a tenth of the window.
    pub returning_at_once: AtOnce,
    /// Suspicious clients in a tenth of the window.
    pub suspects_at_once: AtOnce,
}

/// Clients in a tenth of the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct AtOnce {
    /// The most within the window.
    pub highest: u64,
    /// The average before the window, of all clients without a suspicion or of all suspicious ones.
    pub usual: f64,
}

impl From<Pace> for AtOnce {
    fn from(pace: Pace) -> Self {
        Self {
            highest: pace.highest,
            usual: pace.usual,
        }
    }
}

impl From<&ServiceArrivals> for ClientCounts {
    fn from(arrivals: &ServiceArrivals) -> Self {
        let suspects = arrivals.suspects.into_iter();
        let suspects = suspects.filter(|(_, count)| *count > 0);
        let new = arrivals.clients[ClientKind::New];
        Self {
            surge: arrivals.surge().label().to_owned(),
            returning: arrivals.clients[ClientKind::Returning],
            new: (arrivals.is_learned && arrivals.knows_new).then_some(new),
            unknown: arrivals.clients[ClientKind::Unknown],
            suspects: suspects
                .map(|(suspicion, count)| (suspicion.label().to_owned(), count))
                .collect(),
            returning_at_once: arrivals.returning.into(),
            suspects_at_once: arrivals.suspects_pace.into(),
        }
    }
}
