//! The page against its golden file, and absent families.

use std::fs;

use reprise_ebpf::handshake::{AlertEvent, role};
use zerocopy::FromZeros as _;

use super::{Format, Page};
use crate::{
    observed::{Observed, Shared},
    status::{Coverage, LibraryId, LibraryStatus, Reason, Sensor, Status, Uncovered, Verdict},
};
use reprise_core::model::{
    Connection, Direction, FailureCause, KeyName, LibraryFacts, Mechanism, Miss, MissReason,
    NetworkEvidence, Observation, Offer, Outcome, Owner, Phase, Resumption, Retransmits, Role,
    ServiceId, Source, Version,
};
use reprise_core::pipeline::{
    Pipeline,
    clock::ClockEvent,
    correlate::Bounds,
    peers::Naming,
    record::Record,
    sizing::{Handshake, ServiceHandshake},
    stats::{Limits, Thresholds},
    workload::WorkloadEvent,
};

const MS: u64 = 1_000_000;

fn seen(client: &str, end: Outcome, retransmits: Retransmits) -> Observation {
    Observation {
        time_ns: 10_000 * MS,
        role: Role::Server,
        version: Version::V13,
        outcome: end,
        duration_ns: 3 * MS,
        connection: Some(Connection {
            local: "127.0.0.1:443".parse().unwrap(),
            remote: client.parse().unwrap(),
            namespace: reprise_core::model::NetworkNamespace::Unknown,
        }),
        network: NetworkEvidence {
            retransmits,
            ..NetworkEvidence::default()
        },
        source: Source::Library(LibraryFacts {
            library_ns: MS,
            reason: match end {
                Outcome::Failed(_) => Some(277),
                Outcome::Completed(_) => None,
            },
            ..LibraryFacts::default()
        }),
        tgid: Some(1),
        cgroup: None,
        offer: Offer::Session(Mechanism::Psk),
        hello: None,
        conflict: false,
        alert: None,
        miss: (end == Outcome::Completed(Resumption::Full)).then_some(Miss {
            evidence: reprise_core::model::Evidence::default(),
            reason: MissReason::Evicted,
            age_ns: None,
            lifetime_ns: None,
            service: None,
            lossy: false,
        }),
    }
}

/// One client whose session is missed after five seconds.
fn record_service(pipeline: &mut Pipeline) {
    for (seconds, offered) in [(10, None), (15, Some(10))] {
        let handshake = ServiceHandshake {
            port: 443,
            process: Some(1),
            cgroup: None,
            resumption: Resumption::Full,
            tls13: false,
            library_ns: Some(MS),
            cache: Handshake {
                time_ns: seconds * 1_000 * MS,
                offered,
                stored: Some(seconds),
                ..Handshake::default()
            },
            ticket: None,
        };
        pipeline.sizing_mut().record(ServiceId(1), &handshake);
    }
}

fn observed() -> Observed {
    observed_with(2)
}

/// The same with so many peers by name.
fn observed_with(max_peers: usize) -> Observed {
    let naming = Naming::default();
    let limits = Limits {
        max_peers,
        max_services: 2,
        max_workloads: 2,
        forget_after_ns: u64::MAX,
        forget_peers_after_ns: u64::MAX,
        window_ns: 300_000 * MS,
        thresholds: Thresholds {
            miss_ratio: 0.4,
            min_offers: 1,
        },
    };
    let bounds = Bounds {
        connections: 16,
        sessions: 16,
        services: 64,
    };
    let mut pipeline = Pipeline::new(limits, bounds, naming.clone());
    pipeline.push(&Record::Clock(ClockEvent::new_zeroed()));
    pipeline.push(&Record::Tick(10_000 * MS));
    let owner = Owner {
        namespace: "shop".to_owned(),
        pod: "till-7d9f8b6c5d-x2x9z".to_owned(),
        container: "proxy".to_owned(),
        workload: "till".to_owned(),
    };
    let event = WorkloadEvent::new(0, 1, &owner, 1);
    pipeline.push(&Record::Workload(Box::new(event)));
    pipeline.push(&Record::Alert(AlertEvent {
        role: u32::from(role::CLIENT),
        alert: 116,
        ..AlertEvent::new_zeroed()
    }));
    let mut lost = Retransmits::default();
    for direction in Direction::ALL {
        lost.add(Phase::Handshake, direction);
    }
    for one in [
        seen(
            "127.0.0.2:1",
            Outcome::Completed(Resumption::Full),
            Retransmits::default(),
        ),
        seen("127.0.0.2:2", Outcome::Completed(Resumption::Resumed), lost),
        seen(
            "[2001:db8::7]:3",
            Outcome::Failed(FailureCause::PacketLoss),
            lost,
        ),
        seen(
            "127.0.0.4:4",
            Outcome::Completed(Resumption::Full),
            Retransmits::default(),
        ),
    ] {
        pipeline.stats.record(&one, &naming);
    }
    pipeline
        .stats
        .ticket_keys
        .add(KeyName::new(0x00ab_cdef).unwrap(), true);
    record_service(&mut pipeline);
    let _ = pipeline.stats.peers.update_alerts(10_000 * MS);
    let mut status = Status {
        scanned: true,
        libraries: vec![LibraryStatus {
            id: LibraryId(1),
            library: "libssl.so.3".to_owned(),
            version: "3.0.19".to_owned(),
            entry: "state_machine".to_owned(),
            evidence: "exported accessors".to_owned(),
            path: "/usr/lib/libssl.so.3".to_owned(),
            build_id: None,
            observed: true,
        }],
        coverage: Coverage {
            observed: 3,
            uncovered: [(
                Reason::OtherLibrary,
                Uncovered {
                    processes: 2,
                    ..Uncovered::default()
                },
            )]
            .into(),
            ..Coverage::default()
        },
        ..Status::default()
    };
    for sensor in Sensor::ALL {
        status.sensor_mut(sensor).attached = true;
        status.sensor_mut(sensor).events = 4;
    }
    status.probe("hs_enter", Verdict::Attached);
    status.programs.insert("hs_enter".to_owned(), (7, 7_000));
    Observed { pipeline, status }
}

#[test]
fn page_matches_the_golden_file() {
    let mut observed = observed();
    let Pipeline { stats, naming, .. } = &mut observed.pipeline;
    let resumed = Outcome::Completed(Resumption::Resumed);
    // Two windows later the clients of the service are known. This one closed at once.
    let mut gone = Observation {
        time_ns: 610_000 * MS,
        ..seen("127.0.0.4:5", resumed, Retransmits::default())
    };
    gone.network.closed_by_peer = true;
    stats.record(&gone, naming);
    let client = Observation {
        role: Role::Client,
        tgid: None,
        ..seen("127.0.0.1:443", resumed, Retransmits::default())
    };
    stats.record(&client, naming);
    let page = Page::new(Shared::new(observed), false)
        .render(Format::OpenMetrics)
        .unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/views/metrics/golden.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, &page).unwrap();
    }
    let golden = fs::read_to_string(path).unwrap();
    assert_eq!(
        page, golden,
        "UPDATE_GOLDEN=1 rewrites it; then read the difference"
    );
}

#[test]
fn families_of_a_detached_sensor_are_absent() {
    let mut observed = observed();
    *observed.status.sensor_mut(Sensor::Tcp) = Default::default();
    let page = |observed| {
        Page::new(Shared::new(observed), false)
            .render(Format::Prometheus)
            .unwrap()
    };
    let text = page(observed);
    assert!(text.contains("reprise_handshakes_total"));
    assert!(!text.contains("reprise_handshake_retransmits"));
    assert!(!text.contains("sensor=\"tcp\""));
    assert!(text.contains("reprise_alerts_after_completion_total"));
    let mut only_wire = self::observed();
    *only_wire.status.sensor_mut(Sensor::Handshake) = Default::default();
    let text = page(only_wire);
    assert!(text.contains("reprise_handshakes_total"));
    assert!(!text.contains("reprise_alerts_after_completion_total"));
    let mut none = self::observed();
    none.status.libraries.clear();
    *none.status.sensor_mut(Sensor::Wire) = Default::default();
    assert!(!page(none).contains("reprise_handshakes_total"));
}

/// Nobody knows yet which clients of this service return: zero would be wrong.
#[test]
fn clients_of_a_new_service_are_absent() {
    let page = Page::new(Shared::new(observed()), false)
        .render(Format::Prometheus)
        .unwrap();
    let families = [
        "reprise_peers_returning",
        "reprise_peers_new",
        "reprise_peers_suspect",
        "reprise_service_surge",
    ];
    for family in families {
        assert!(page.contains(&format!("# HELP {family} ")), "{family}");
        assert!(!page.contains(&format!("\n{family}{{")), "{family}");
    }
}

#[test]
fn sums_over_peers_equal_the_totals() {
    let page = Page::new(Shared::new(observed()), false)
        .render(Format::Prometheus)
        .unwrap();
    let sum = |family: &str| -> f64 {
        page.lines()
            .filter(|line| line.starts_with(&format!("{family}{{")))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    };
    assert_eq!(sum("reprise_handshakes_total"), 3.0);
    assert_eq!(sum("reprise_peer_handshakes_total"), 3.0);
    assert_eq!(
        sum("reprise_peer_handshake_failures_total"),
        sum("reprise_handshake_failures_total")
    );
}

/// `docs/fleet.md` calculates with this number.
#[test]
fn a_peer_costs_three_series() {
    let mut observed = observed_with(4);
    let Pipeline { stats, naming, .. } = &mut observed.pipeline;
    let resumed = Outcome::Completed(Resumption::Resumed);
    for _ in 0..3 {
        stats.record(
            &seen("127.0.0.9:1", resumed, Retransmits::default()),
            naming,
        );
    }
    let page = Page::new(Shared::new(observed), false)
        .render(Format::Prometheus)
        .unwrap();
    let series = page
        .lines()
        .filter(|line| line.contains("peer=\"127.0.0.9\""));
    assert_eq!(series.count(), 3, "{page}");
}

#[test]
fn open_metrics_is_chosen_only_by_name() {
    assert_eq!(Format::negotiate(None), Format::Prometheus);
    assert_eq!(Format::negotiate(Some("*/*")), Format::Prometheus);
    assert_eq!(
        Format::negotiate(Some(
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
        )),
        Format::OpenMetrics
    );
}
