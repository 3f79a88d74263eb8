//! The four dashboards. Their queries use the shorthand of [`super::grafana::query`].

mod agent;
mod loss;
mod overview;
mod peers;

use super::grafana::Dashboard;

/// Returns every dashboard.
pub(super) fn all() -> [Dashboard; 4] {
    [
        overview::dashboard(),
        peers::dashboard(),
        loss::dashboard(),
        agent::dashboard(),
    ]
}
