//! The four dashboards. Queries are in the shorthand of [`super::grafana::query`].

mod agent;
mod loss;
mod overview;
mod peers;

use super::grafana::Dashboard;

/// Every dashboard.
pub(super) fn all() -> [Dashboard; 4] {
    [
        overview::dashboard(),
        peers::dashboard(),
        loss::dashboard(),
        agent::dashboard(),
    ]
}
