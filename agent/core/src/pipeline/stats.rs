//! Sums over observations, which `/metrics`, `watch` and the API show. Pure; every table is
//! bounded, by [`Limits`] or by a constant of its own.

mod alerts;
mod alerts_after_completion;
mod arrivals;
mod by_role;
mod ephemeral;
mod errors;
mod explanations;
mod failed_offers;
mod failures;
mod frequency;
mod frequent_table;
mod given;
mod histogram;
mod history;
mod keys;
mod lifetimes;
mod limits;
mod merge;
mod miss_examples;
mod networks;
mod offers;
mod outcomes;
mod owners;
mod peer_key;
mod peer_name;
mod peer_stats;
mod peer_table;
mod recent_table;
mod service_port;
mod services;
mod sums;
#[cfg(test)]
pub(super) mod testing;
mod visitors;
mod window;

pub use self::{
    alerts::AlertReason,
    alerts_after_completion::AlertsAfterCompletion,
    arrivals::{Arrivals, Pace, ServiceArrivals, TrustedClients},
    by_role::ByRole,
    errors::{ErrorSum, Errors},
    explanations::Explanation,
    failed_offers::FailedOffers,
    failures::{Failure, Failures},
    given::Given,
    histogram::{BOUNDS, Histogram},
    history::{History, SLOT_NS, Slot},
    keys::TicketKeys,
    lifetimes::{LIFETIME_BOUNDS_S, LifetimeHistogram, Lifetimes},
    limits::{Limits, Thresholds},
    miss_examples::{MAX_PEERS_WITH_EXAMPLES, MissExample, MissExamples, Ports},
    networks::{ClientNetwork, NetworkKey, Networks},
    offers::{LastMiss, Offers, RecentOffers},
    outcomes::{OfferSums, Outcomes},
    owners::Owners,
    peer_key::PeerKey,
    peer_stats::{PeerStats, SessionsLost},
    peer_table::{AlertChange, PeerTable},
    service_port::ServicePort,
    services::{ClientTable, ServiceKey, ServiceSums, ServiceTable},
    sums::{Stats, WithLoss},
};
