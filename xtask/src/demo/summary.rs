//! What the demo shows of the agent's metrics page.

/// The families that the demo is about.
const FAMILIES: &[&str] = &[
    "reprise_handshakes_total",
    "reprise_peer_resume_ratio",
    "reprise_handshakes_with_loss_total",
];

/// The samples of the demo's families, as they stand on the page; counters at zero left out.
pub(super) fn of(page: &str) -> String {
    let samples: String = page
        .lines()
        .filter(|line| !line.ends_with(" 0"))
        .filter(|line| FAMILIES.contains(&line.split(['{', ' ']).next().unwrap_or_default()))
        .map(|line| format!("  {line}\n"))
        .collect();
    if samples.is_empty() {
        return "  none of the families that the demo is about\n".to_owned();
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_keeps_samples_of_its_families_only() {
        let page = "HTTP/1.1 200 OK\r\n\r\n# TYPE reprise_handshakes counter\n\
            reprise_handshakes_total{role=\"server\"} 3\n\
            reprise_handshakes_total{role=\"client\"} 0\n\
            reprise_handshakes_total_other 4\nreprise_peer_resume_ratio{peer=\"a\"} 0.5\n";
        let expected = "  reprise_handshakes_total{role=\"server\"} 3\n  \
            reprise_peer_resume_ratio{peer=\"a\"} 0.5\n";
        assert_eq!(of(page), expected);
        assert!(of("").contains("none"));
    }
}
