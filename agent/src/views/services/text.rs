//! Advice as text.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

use super::ServiceAdvice;
use reprise_core::pipeline::sizing::{Advice, Measured, Point, Verdict};

/// Lines of the table of expected hit ratios.
const MAX_SIZES: usize = 16;

/// Advice for these services.
#[must_use]
pub fn report(services: &[ServiceAdvice]) -> String {
    let mut text = String::new();
    if services.is_empty() {
        text.push_str("no service with a session cache or tickets was observed\n");
    }
    for service in services {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a string does not fail.
        let _ = write_service(&mut text, service);
    }
    text
}

fn write_service(text: &mut String, service: &ServiceAdvice) -> fmt::Result {
    let ServiceAdvice {
        id,
        owner,
        port,
        advice,
    } = service;
    writeln!(text, "service {id}: {owner}, port {port}")?;
    write_measured(text, &advice.measured)?;
    write_table(text, advice)?;
    write_verdict(text, advice)?;
    write_recommended(text, advice)?;
    write_tickets(text, advice)
}

fn write_measured(text: &mut String, measured: &Measured) -> fmt::Result {
    let Some(ratio) = measured.hit_ratio else {
        return writeln!(text, "  no offer of a session in a cache");
    };
    let offers = measured.accepted + measured.missed;
    let seconds = measured.seconds;
    writeln!(
        text,
        "  today      {} of {offers} offers in {seconds:.0} s",
        percent(ratio)
    )?;
    match (measured.size, measured.lifetime_seconds) {
        (Some(size), Some(lifetime)) => {
            let about = if measured.size_is_lower_bound {
                "at least"
            } else {
                "about"
            };
            write!(
                text,
                "  cache      {about} {size} sessions for {lifetime} s"
            )?;
        }
        (_, Some(lifetime)) => write!(text, "  cache      of unknown size for {lifetime} s")?,
        _ => write!(text, "  cache      of unknown size and lifetime")?,
    }
    match measured.predicted_hit_ratio {
        Some(ratio) => writeln!(text, ", predicted {}", percent(ratio))?,
        None => writeln!(text)?,
    }
    writeln!(text, "  alive      {} sessions", measured.sessions_alive)
}

/// The expected hit ratios: a line per size, a column per lifetime.
fn write_table(text: &mut String, advice: &Advice) -> fmt::Result {
    if advice.curve.is_empty() {
        return Ok(());
    }
    let lifetimes: BTreeSet<_> = advice.curve.iter().map(|at| at.lifetime_seconds).collect();
    write!(text, "  expected   ")?;
    for lifetime in &lifetimes {
        write!(text, "{:>9}", format!("{lifetime} s"))?;
    }
    writeln!(text)?;
    for size in sizes(advice) {
        write!(text, "  {size:>9}  ")?;
        for lifetime in &lifetimes {
            let same = |at: &&Point| at.lifetime_seconds == *lifetime && at.size <= size;
            // A curve ends at the size from which on it is flat.
            let ratio = advice.curve.iter().rfind(same).map(|at| at.hit_ratio);
            let ratio = ratio.map_or_else(|| "-".to_owned(), percent);
            write!(text, "{ratio:>9}")?;
        }
        writeln!(text)?;
    }
    Ok(())
}

/// The sizes to show: those at which a hit ratio changes, one per octave if there are many.
fn sizes(advice: &Advice) -> Vec<u64> {
    let mut sizes: BTreeSet<_> = advice.curve.iter().map(|at| at.size).collect();
    if sizes.len() > MAX_SIZES {
        sizes.retain(|size| size.is_power_of_two());
    }
    sizes.extend(advice.recommended.map(|point| point.size));
    sizes.into_iter().collect()
}

fn write_verdict(text: &mut String, advice: &Advice) -> fmt::Result {
    match (advice.verdict, advice.obstacle) {
        (Verdict::Unknown, Some(obstacle)) => {
            writeln!(text, "  advice     unknown: {}", obstacle.text())
        }
        (Verdict::Unknown, None) => writeln!(text, "  advice     unknown"),
        (Verdict::Sufficient, _) => writeln!(text, "  advice     the present cache is sufficient"),
        (Verdict::Change, _) => Ok(()),
    }
}

fn write_recommended(text: &mut String, advice: &Advice) -> fmt::Result {
    let Some(point) = advice.recommended else {
        return Ok(());
    };
    let ratio = percent(point.hit_ratio);
    write!(text, "  configure  {} sessions", point.size)?;
    if let Some(times) = advice.times_present_size {
        write!(text, " ({times:.1} times the present cache)")?;
    }
    write!(text, " for {} s: {ratio} expected", point.lifetime_seconds)?;
    if let Some(seconds) = advice.saved_cpu_seconds_per_hour {
        write!(text, ", saves {seconds:.1} s of CPU per hour")?;
    }
    if let Some(trips) = advice.saved_round_trips_per_hour {
        write!(text, ", {trips:.0} round trips per hour")?;
    }
    writeln!(text)?;
    for line in &advice.settings {
        let memory = line.memory_bytes as f64 / f64::from(1 << 20);
        writeln!(text, "    {} ({memory:.1} MiB)", line.server)?;
        for setting in line.setting.lines() {
            writeln!(text, "      {setting}")?;
        }
        if !line.with_client_certificates.is_empty() {
            writeln!(
                text,
                "      with client certificates: {}",
                line.with_client_certificates
            )?;
        }
    }
    Ok(())
}

fn write_tickets(text: &mut String, advice: &Advice) -> fmt::Result {
    if let Some(seconds) = advice.ticket_key_needed_seconds {
        writeln!(
            text,
            "  tickets    95 % return within {seconds} s: retain each key for as long"
        )?;
    }
    let all: u64 = advice.tickets_by_keys_back.iter().sum();
    if all > 0 {
        write!(text, "  keys back ")?;
        for (keys, tickets) in advice.tickets_by_keys_back.iter().enumerate() {
            if *tickets > 0 {
                write!(text, " {keys}: {}", percent(*tickets as f64 / all as f64))?;
            }
        }
        writeln!(text)?;
    }
    Ok(())
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::owner::OwnerRow;
    use reprise_core::pipeline::sizing::Obstacle;

    #[test]
    fn advice_is_a_table_with_settings() {
        let point = |size, lifetime_seconds, hit_ratio| Point {
            size,
            lifetime_seconds,
            hit_ratio,
        };
        let advice = Advice {
            measured: Measured {
                seconds: 3_600.0,
                accepted: 610,
                missed: 390,
                hit_ratio: Some(0.61),
                lifetime_seconds: Some(300),
                size: Some(1_980),
                predicted_hit_ratio: Some(0.6),
                sessions_alive: 3_000,
                ..Measured::default()
            },
            curve: vec![
                point(64, 300, 0.1),
                point(91, 300, 0.2),
                point(64, 600, 0.3),
                point(91, 600, 0.4),
                point(128, 600, 0.9),
            ],
            verdict: Verdict::Change,
            recommended: Some(point(128, 600, 0.9)),
            times_present_size: Some(1.5),
            saved_round_trips_per_hour: Some(290.0),
            tickets_by_keys_back: vec![3, 1],
            ..Advice::default()
        };
        let service = ServiceAdvice {
            id: 3,
            owner: OwnerRow {
                workload: "nginx.service".to_owned(),
                ..OwnerRow::default()
            },
            port: 443,
            advice,
        };
        assert_eq!(
            report(&[service]),
            "service 3: nginx.service, port 443\n  \
             today      61.0 % of 1000 offers in 3600 s\n  \
             cache      about 1980 sessions for 300 s, predicted 60.0 %\n  \
             alive      3000 sessions\n  \
             expected       300 s    600 s\n         \
             64     10.0 %   30.0 %\n         \
             91     20.0 %   40.0 %\n        \
             128     20.0 %   90.0 %\n  \
             configure  128 sessions (1.5 times the present cache) for 600 s: 90.0 % expected, \
             290 round trips per hour\n  \
             keys back  0: 75.0 % 1: 25.0 %\n"
        );
        assert!(report(&[]).starts_with("no service"));
    }

    #[test]
    fn an_obstacle_is_named() {
        let service = ServiceAdvice {
            id: 3,
            owner: OwnerRow {
                workload: "nginx.service".to_owned(),
                ..OwnerRow::default()
            },
            port: 443,
            advice: Advice {
                obstacle: Some(Obstacle::NoCache),
                ..Advice::default()
            },
        };
        assert_eq!(
            report(&[service]),
            "service 3: nginx.service, port 443\n  \
             no offer of a session in a cache\n  \
             advice     unknown: the service stores no sessions\n"
        );
    }
}
