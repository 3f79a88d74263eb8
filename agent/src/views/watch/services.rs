//! Services on the screen: those with the most handshakes first.

use std::cmp::Reverse;

use ratatui::{
    layout::Constraint,
    style::Modifier,
    text::Line,
    widgets::{Cell, Row as Cells, Table},
};

use super::text::{commonest_problem, percent, share};
use crate::observed::Observed;
use reprise_core::{
    model::{Resumption, Surge},
    pipeline::stats::{ServiceArrivals, ServiceKey, ServiceSums},
};

/// One service, copied so that the lock can be released.
#[derive(Debug, Clone)]
pub(super) struct ServiceLine {
    name: String,
    sums: ServiceSums,
    surge: Surge,
}

/// Services with this text, in any case, in their name or problem.
pub(super) fn lines(observed: &Observed, filter: &str) -> Vec<ServiceLine> {
    let wanted = filter.to_lowercase();
    let pipeline = &observed.pipeline;
    let arrivals = pipeline.stats.arrivals.by_service(pipeline.now_ns());
    let surge = |key| arrivals.get(key).map(ServiceArrivals::surge);
    let named = pipeline.stats.services.named().into_iter();
    let mut lines: Vec<_> = named
        .map(|(key, sums)| ServiceLine {
            name: name(key),
            sums: *sums,
            surge: surge(key).unwrap_or_default(),
        })
        .filter(|line| {
            line.name.to_lowercase().contains(&wanted) || line.problem().contains(&wanted)
        })
        .collect();
    lines.sort_by_key(|line| Reverse(line.ended()));
    lines
}

/// `NAMESPACE/WORKLOAD:PORT`, then the pod, or the container outside Kubernetes.
fn name(key: &ServiceKey) -> String {
    let ServiceKey { owner, port } = key;
    let mut name = format!("{owner}:{port}");
    let part = if owner.pod.is_empty() {
        &owner.container
    } else {
        &owner.pod
    };
    if !part.is_empty() {
        name.push(' ');
        name.push_str(part);
    }
    name
}

impl ServiceLine {
    fn ended(&self) -> u64 {
        self.sums.completed.values().sum::<u64>() + self.failed()
    }

    fn failed(&self) -> u64 {
        self.sums.failures.values().sum()
    }

    /// A storm or an attack, else the commonest miss reason or failure cause.
    fn problem(&self) -> &'static str {
        match self.surge {
            Surge::Storm | Surge::Attack => self.surge.label(),
            Surge::Unknown | Surge::None => {
                commonest_problem(&self.sums.misses, &self.sums.failures)
            }
        }
    }

    fn cells(&self) -> Cells<'static> {
        let right = |text: String| Cell::new(Line::raw(text).right_aligned());
        let offers = self.sums.offers.total();
        let accepted = share(offers.accepted, offers.total());
        Cells::new([
            Cell::new(self.name.clone()),
            right(self.sums.completed[Resumption::Full].to_string()),
            right(self.sums.completed[Resumption::Resumed].to_string()),
            right(percent(accepted)),
            right(self.failed().to_string()),
            Cell::new(self.problem()),
        ])
    }
}

/// The first `count` of these services.
pub(super) fn table(lines: &[ServiceLine], count: usize) -> Table<'static> {
    let widths = [
        Constraint::Min(26),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(14),
    ];
    let heading = |name| Cell::new(Line::styled(name, Modifier::BOLD));
    let right = |name| Cell::new(Line::styled(name, Modifier::BOLD).right_aligned());
    let headings = Cells::new([
        heading("SERVICE"),
        right("FULL"),
        right("RESUMED"),
        right("ACCEPTED"),
        right("FAILED"),
        heading("PROBLEM"),
    ]);
    let rows = lines.iter().take(count).map(ServiceLine::cells);
    Table::new(rows, widths).header(headings.top_margin(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reprise_core::model::{FailureCause, MissReason};

    #[test]
    fn a_storm_or_an_attack_is_the_problem() {
        let mut sums = ServiceSums::default();
        sums.misses[MissReason::Evicted] = 3;
        sums.failures[FailureCause::Reset] = 2;
        for (surge, problem) in [
            (Surge::Unknown, "evicted"),
            (Surge::None, "evicted"),
            (Surge::Storm, "storm"),
            (Surge::Attack, "attack"),
        ] {
            let line = ServiceLine {
                name: String::new(),
                sums,
                surge,
            };
            assert_eq!(line.problem(), problem);
        }
    }
}
