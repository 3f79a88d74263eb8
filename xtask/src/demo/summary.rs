//! Excerpt of the metrics page for the end of the demo.

/// Metric families in the excerpt.
const FAMILIES: &[&str] = &[
    "reprise_handshakes_total",
    "reprise_peer_resume_ratio",
    "reprise_handshakes_with_loss_total",
];

/// Returns the non-zero samples of [`FAMILIES`] as on the page.
pub(super) fn samples(page: &str) -> String {
    let lines: String = page
        .lines()
        .filter(|line| !line.ends_with(" 0"))
        .filter(|line| FAMILIES.contains(&line.split(['{', ' ']).next().unwrap_or_default()))
        .map(|line| format!("  {line}\n"))
        .collect();
    if lines.is_empty() {
        return "  no handshakes\n".to_owned();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_samples_of_the_families_are_shown() {
        let page = "HTTP/1.1 200 OK\r\n\r\n# TYPE reprise_handshakes counter\n\
            reprise_handshakes_total{role=\"server\"} 3\n\
            reprise_handshakes_total{role=\"client\"} 0\n\
            reprise_handshakes_total_other 4\nreprise_peer_resume_ratio{peer=\"a\"} 0.5\n";
        let expected = "  reprise_handshakes_total{role=\"server\"} 3\n  \
            reprise_peer_resume_ratio{peer=\"a\"} 0.5\n";
        assert_eq!(samples(page), expected);
        assert!(samples("").contains("no handshakes"));
    }
}
